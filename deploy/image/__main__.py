"""`python -m deploy.image build|test`: `make image` and `make image-test` call it."""

import argparse
import signal
import sys

from deploy.embedded.processes import NotStarted
from deploy.image.build import TAGS, build
from deploy.image.engines import find_engine
from deploy.image.trial import try_image


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m deploy.image", description=__doc__)
    options.add_argument("what", choices=("build", "test"))
    options.add_argument("--target", choices=TAGS, default="litemaas")
    options.add_argument("--base", help="the image to build on, in place of the Dockerfile's")
    chosen = options.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        engine = find_engine()
        tag = build(engine, chosen.target, chosen.base)
        if chosen.what == "test":
            try_image(engine, tag)
    except NotStarted as problem:
        print(f"\n{problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    print(f"\nThe image is {tag}." if chosen.what == "build" else f"\nThe image {tag} does all of it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
