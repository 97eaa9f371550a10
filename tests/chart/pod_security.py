"""Pod Security Standards, level "restricted", and what this project asks beyond it, as rules over a pod's template."""

import re
from collections.abc import Callable
from typing import Any, Final

from tests.chart.charts import Object, containers

VOLUMES: Final = {
    "configMap",
    "secret",
    "emptyDir",
    "persistentVolumeClaim",
    "projected",
    "downwardAPI",
    "csi",
    "ephemeral",
}
# Another tag would be another image tomorrow.
IMAGE: Final = re.compile(r"[\w./:-]+(@sha256:[0-9a-f]{64}|:(?!latest$)[\w.-]+)")
Rule = Callable[[Object], bool]


def _each(check: Callable[[Object], bool]) -> Rule:
    """Whether it holds for each container."""
    return lambda template: all(check(one) for one in containers(template))


def _security(container: Object) -> dict[str, Any]:
    found: dict[str, Any] = container.get("securityContext", {})
    return found


def _pod_security(template: Object) -> dict[str, Any]:
    found: dict[str, Any] = template["spec"].get("securityContext", {})
    return found


def _everywhere(template: Object, field: str) -> list[Any]:
    """What holds of a field for each container: its own, else the pod's."""
    pod = _pod_security(template).get(field)
    return [_security(one).get(field, pod) for one in containers(template)]


def _volumes(template: Object) -> list[Object]:
    found: list[Object] = template["spec"].get("volumes", [])
    return found


def _is_bounded(container: Object) -> bool:
    resources = container.get("resources", {})
    return "memory" in resources.get("limits", {}) and {"cpu", "memory"} <= set(resources.get("requests", {}))


RULES: Final[dict[str, Rule]] = {
    "namespaces of its own": lambda pod: not {"hostNetwork", "hostPID", "hostIPC"} & set(pod["spec"]),
    "no privileged container": _each(lambda one: not _security(one).get("privileged")),
    "no capability": _each(lambda one: _security(one).get("capabilities") == {"drop": ["ALL"]}),
    "volumes that are not of the host": lambda pod: all(set(one) - {"name"} <= VOLUMES for one in _volumes(pod)),
    "no port of the host": _each(lambda one: not any("hostPort" in port for port in one.get("ports", ()))),
    "no option of SELinux": lambda pod: not any(_everywhere(pod, "seLinuxOptions")),
    "no other mask of /proc": _each(lambda one: "procMount" not in _security(one)),
    "no kernel parameter": lambda pod: not _pod_security(pod).get("sysctls"),
    "no other AppArmor profile": lambda pod: not any(_everywhere(pod, "appArmorProfile")),
    "the seccomp profile of the runtime": lambda pod: all(
        one == {"type": "RuntimeDefault"} for one in _everywhere(pod, "seccompProfile")
    ),
    "no new privileges": _each(lambda one: _security(one).get("allowPrivilegeEscalation") is False),
    "not root": lambda pod: all(one is True for one in _everywhere(pod, "runAsNonRoot")),
    "no user 0": lambda pod: 0 not in _everywhere(pod, "runAsUser"),
    "a read-only root file system": _each(lambda one: _security(one).get("readOnlyRootFilesystem") is True),
    "no token of a service account": lambda pod: pod["spec"].get("automountServiceAccountToken") is False,
    "no addresses of other services in its environment": lambda pod: pod["spec"].get("enableServiceLinks") is False,
    "bounds of processor and memory": _each(_is_bounded),
    "bounded temporary files": lambda pod: all(
        "sizeLimit" in one.get("emptyDir", {"sizeLimit": ""}) for one in _volumes(pod)
    ),
    "an image that stays the same": _each(lambda one: IMAGE.fullmatch(one["image"]) is not None),
    "no container that is added later": lambda pod: "ephemeralContainers" not in pod["spec"],
}


def violations(template: Object) -> set[str]:
    """The rules that a pod breaks."""
    return {name for name, holds in RULES.items() if not holds(template)}
