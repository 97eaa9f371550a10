"""Prints what the image is made of, as JSON. Runs in the image, by its own Python: the standard library only."""

import importlib.metadata
import json
import os
import re
import stat

SBOM = "/usr/share/sbom/litemaas.cdx.json"
# What installs or compiles, or fetches for an intruder.
PROGRAMS = re.compile(
    r"uv|npm|node|curl|wget|cc|c89|c99|tcc|ld|as|make|(.*-)?(gcc|g\+\+|c\+\+|clang|cpp|rustc|cargo)(-[\d.]+)?"
)
PACKAGES = re.compile(r"pip[\d.]*|pip-.*|ensurepip|node_modules")
NOT_OURS = {"/proc", "/sys", "/dev"}


def main() -> None:
    unwanted = []
    privileged = []
    size = 0
    for folder, folders, files in os.walk("/"):
        folders[:] = [one for one in folders if os.path.join(folder, one) not in NOT_OURS]
        for name in folders + files:
            path = os.path.join(folder, name)
            found = os.lstat(path)
            size += found.st_size if stat.S_ISREG(found.st_mode) else 0
            if found.st_mode & (stat.S_ISUID | stat.S_ISGID) and stat.S_ISREG(found.st_mode):
                privileged.append(path)
            is_program = not stat.S_ISDIR(found.st_mode) and os.access(path, os.X_OK)
            if PACKAGES.fullmatch(name) or (is_program and PROGRAMS.fullmatch(name)):
                unwanted.append(path)
    with open(SBOM) as file:
        sbom = json.load(file)
    print(
        json.dumps(
            {
                "user": [os.getuid(), os.getgid(), *os.getgroups()],
                "is_read_only": bool(os.statvfs("/").f_flag & os.ST_RDONLY),
                "unwanted": unwanted,
                "privileged": privileged,
                "bytes": size,
                "packages": {one.name: one.version for one in importlib.metadata.distributions()},
                "sbom_format": [sbom["bomFormat"], sbom["specVersion"]],
                "sbom": {one["name"]: one["version"] for one in sbom["components"]},
            }
        )
    )


if __name__ == "__main__":
    main()
