"""Who may connect to whom, by the NetworkPolicies of a release: as a cluster that enforces them decides."""

from ipaddress import ip_address, ip_network
from typing import Any, Final, NamedTuple

from tests.chart.charts import Object, pods

NAMESPACE: Final = {"kubernetes.io/metadata.name": "models"}


class Peer(NamedTuple):
    """A pod with the labels of its namespace, or an address outside of the cluster."""

    labels: dict[str, str] | None = None
    namespace: dict[str, str] = NAMESPACE
    address: str = ""


def components(objects: list[Object]) -> dict[str, Peer]:
    """The release's own pods, by component."""
    found = [template["metadata"]["labels"] for template in pods(objects).values()]
    return {labels["app.kubernetes.io/component"]: Peer(labels) for labels in found}


def is_allowed(objects: list[Object], source: Peer, target: Peer, port: int) -> bool:
    """Whether the source may open a TCP connection to a port of the target."""
    return _lets(objects, "Egress", source, target, port) and _lets(objects, "Ingress", target, source, port)


def _lets(objects: list[Object], direction: str, pod: Peer, other: Peer, port: int) -> bool:
    """Everything, for what no policy selects."""
    policies = [
        one["spec"]
        for one in objects
        if one["kind"] == "NetworkPolicy"
        and direction in one["spec"]["policyTypes"]
        and pod.namespace == NAMESPACE
        and pod.labels is not None
        and _chooses(one["spec"]["podSelector"], pod.labels)
    ]
    if not policies:
        return True
    side = "to" if direction == "Egress" else "from"
    rules = [rule for policy in policies for rule in policy.get(direction.lower(), ())]
    return any(_has_port(rule, port) and _has_peer(rule.get(side), other) for rule in rules)


def _has_port(rule: Object, port: int) -> bool:
    ports = rule.get("ports")
    return not ports or any(int(one["port"]) == port and one.get("protocol", "TCP") == "TCP" for one in ports)


def _has_peer(peers: list[Any] | None, other: Peer) -> bool:
    return not peers or any(_is_peer(one, other) for one in peers)


def _is_peer(peer: Object, other: Peer) -> bool:
    if "ipBlock" in peer:
        return bool(other.address) and ip_address(other.address) in ip_network(peer["ipBlock"]["cidr"])
    if other.labels is None:
        return False
    namespaces = peer.get("namespaceSelector")
    is_near = other.namespace == NAMESPACE if namespaces is None else _chooses(namespaces, other.namespace)
    return is_near and _chooses(peer.get("podSelector", {}), other.labels)


def _chooses(selector: Object, labels: dict[str, str]) -> bool:
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()
