"""Every pod of every example is restricted, and each rule finds a pod that breaks it."""

from copy import deepcopy
from typing import Any, Final

import pytest

from tests.chart.charts import Object, pods
from tests.chart.pod_security import RULES, violations

# Where a value goes that breaks a rule, and only this one.
Break = tuple[tuple[str | int, ...], Any]
POD: Final = ("spec", "securityContext")
CONTAINER: Final = ("spec", "containers", 0)
SECURITY: Final = (*CONTAINER, "securityContext")
BREAKS: Final[dict[str, Break]] = {
    "namespaces of its own": (("spec", "hostNetwork"), True),
    "no privileged container": ((*SECURITY, "privileged"), True),
    "no capability": ((*SECURITY, "capabilities"), {"drop": ["ALL"], "add": ["NET_ADMIN"]}),
    "volumes that are not of the host": (("spec", "volumes", 0), {"name": "tmp", "hostPath": {"path": "/"}}),
    "no port of the host": ((*CONTAINER, "ports", 0, "hostPort"), 4000),
    "no option of SELinux": ((*POD, "seLinuxOptions"), {"type": "spc_t"}),
    "no other mask of /proc": ((*SECURITY, "procMount"), "Unmasked"),
    "no kernel parameter": ((*POD, "sysctls"), [{"name": "kernel.msgmax", "value": "1"}]),
    "no other AppArmor profile": ((*SECURITY, "appArmorProfile"), {"type": "Unconfined"}),
    "the seccomp profile of the runtime": ((*SECURITY, "seccompProfile"), {"type": "Unconfined"}),
    "no new privileges": ((*SECURITY, "allowPrivilegeEscalation"), True),
    "not root": ((*SECURITY, "runAsNonRoot"), False),
    "no user 0": ((*POD, "runAsUser"), 0),
    "a read-only root file system": ((*SECURITY, "readOnlyRootFilesystem"), False),
    "no token of a service account": (("spec", "automountServiceAccountToken"), True),
    "no addresses of other services in its environment": (("spec", "enableServiceLinks"), True),
    "bounds of processor and memory": ((*CONTAINER, "resources", "limits"), {"cpu": "1"}),
    "bounded temporary files": (("spec", "volumes", 0), {"name": "tmp", "emptyDir": {}}),
    "an image that stays the same": ((*CONTAINER, "image"), "registry.example.com/litemaas:latest"),
    "no container that is added later": (("spec", "ephemeralContainers"), [{"name": "shell"}]),
}


def test_every_pod_is_restricted(rendered: dict[str, list[Object]]) -> None:
    found = {
        f"{example}: {name}": broken
        for example, objects in rendered.items()
        for name, template in pods(objects).items()
        if (broken := violations(template))
    }

    assert found == {}
    assert sum(len(pods(objects)) for objects in rendered.values()) >= 20


def test_every_rule_is_broken_once() -> None:
    assert set(BREAKS) == set(RULES)


@pytest.mark.parametrize("rule", BREAKS)
def test_a_pod_that_breaks_a_rule_is_found(rule: str, rendered: dict[str, list[Object]]) -> None:
    template = deepcopy(pods(rendered["one-team"])["Deployment/litemaas-gateway"])
    (*path, last), value = BREAKS[rule]
    place: Any = template
    for step in path:
        place = place[step]
    place[last] = value

    assert violations(template) == {rule}


def test_openshift_chooses_all_ids(rendered: dict[str, list[Object]]) -> None:
    ids = {"runAsUser", "runAsGroup", "fsGroup", "supplementalGroups"}
    contexts = [one["spec"]["securityContext"] for one in pods(rendered["openshift"]).values()]

    assert contexts
    assert [context for context in contexts if ids & set(context)] == []
