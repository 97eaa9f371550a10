"""The network policies allow what each part needs, and nothing else: all pairs of pods are compared."""

from itertools import product
from typing import Final

from tests.chart.charts import Helm, Object, values_of
from tests.chart.network import Peer, components, is_allowed

SERVED: Final = {
    "gateway": (4000, 9464),
    "admin": (8081, 9465),
    "litellm": (4000,),
    "postgres": (5432,),
    "valkey": (6379,),
}
# Who calls whom of a release with everything in it.
NEEDED: Final = {
    ("gateway", "postgres", 5432),
    ("gateway", "valkey", 6379),
    ("gateway", "litellm", 4000),
    ("admin", "postgres", 5432),
    ("admin", "valkey", 6379),
    ("admin", "litellm", 4000),
    ("admin", "gateway", 4000),
    ("migrate", "postgres", 5432),
    ("commands", "postgres", 5432),
    ("commands", "valkey", 6379),
    ("commands", "litellm", 4000),
    # For `litemaas doctor`.
    ("commands", "gateway", 4000),
    ("litellm", "postgres", 5432),
}
STRANGER: Final = Peer({"app": "stranger"}, {"kubernetes.io/metadata.name": "strangers"})
NEIGHBOUR: Final = Peer({"app": "neighbour"})
INTERNET: Final = Peer(address="203.0.113.7")
PORTS: Final = (53, 80, 443, 587, 4000, 4318, 5432, 6379, 6432, 6443, 8081, 8443, 9464, 9465)


def ports_to(objects: list[Object], source: Peer, target: Peer) -> set[int]:
    return {port for port in PORTS if is_allowed(objects, source, target, port)}


def test_parts_of_a_release_reach_what_they_need_and_no_more(rendered: dict[str, list[Object]]) -> None:
    objects = rendered["one-team"]
    found = components(objects)
    allowed = {
        (source, target, port)
        for source, target in product(found, SERVED)
        for port in SERVED[target]
        if is_allowed(objects, found[source], found[target], port)
    }

    assert allowed == NEEDED


def test_others_reach_only_what_is_public(rendered: dict[str, list[Object]]) -> None:
    objects = rendered["one-team"]
    for other in (STRANGER, NEIGHBOUR, INTERNET):
        reached = {name: ports_to(objects, other, pod) for name, pod in components(objects).items()}
        assert {name: ports for name, ports in reached.items() if ports} == {"gateway": {4000}, "admin": {8081}}


def test_gateways_reach_a_collector_only_where_traces_are_on(helm: Helm) -> None:
    values = values_of("one-team")
    traced = values | {
        "settings": values.get("settings", {}) | {"LITEMAAS_TRACES_URL": "http://collector:4318/v1/traces"}
    }
    for chosen, reached in ((values, {}), (traced, {"gateway": {4318}})):
        objects = helm.objects(chosen)
        found = {name: ports_to(objects, pod, NEIGHBOUR) & {4318} for name, pod in components(objects).items()}
        assert {name: ports for name, ports in found.items() if ports} == reached


def test_only_admins_programs_reach_clickhouse_and_only_where_it_is_used(helm: Helm) -> None:
    values = values_of("one-team")
    used = values | {"secretSettings": {"LITEMAAS_CLICKHOUSE_URL": {"secret": "clickhouse", "key": "url"}}}
    for chosen, reached in ((values, {}), (used, {"admin": {8443}, "commands": {8443}})):
        objects = helm.objects(chosen)
        found = {name: ports_to(objects, pod, NEIGHBOUR) & {8443} for name, pod in components(objects).items()}
        assert {name: ports for name, ports in found.items() if ports} == reached


def test_only_what_needs_the_outside_reaches_it(rendered: dict[str, list[Object]]) -> None:
    everywhere = {name: {part: ports for part, pod in components(rendered[name]).items()
                         if (ports := ports_to(rendered[name], pod, INTERNET))}
                  for name in ("one-team", "ten-thousand-users", "openshift")}  # fmt: skip

    assert everywhere == {
        "one-team": {"admin": {443, 587}, "commands": {443, 587}, "litellm": {443}},
        "ten-thousand-users": {"admin": {443, 587}, "commands": {443, 587}},
        # Their addresses are not named there.
        "openshift": {
            "gateway": {5432, 6379},
            "admin": {443, 587, 5432, 6379, 6443},
            "migrate": {5432},
        },
    }


def test_named_peers_are_the_only_ones(rendered: dict[str, list[Object]]) -> None:
    objects = rendered["ten-thousand-users"]
    found = components(objects)
    ingress = Peer({"app": "proxy"}, {"kubernetes.io/metadata.name": "ingress"})
    prometheus = Peer({"app": "prometheus"}, {"kubernetes.io/metadata.name": "monitoring"})

    assert ports_to(objects, ingress, found["gateway"]) == {4000}
    assert ports_to(objects, ingress, found["admin"]) == {8081}
    assert ports_to(objects, prometheus, found["gateway"]) == {9464}
    assert ports_to(objects, prometheus, found["admin"]) == {9465}
    assert ports_to(objects, STRANGER, found["gateway"]) == set()
    assert ports_to(objects, found["migrate"], Peer(address="10.20.0.9")) == {5432, 6432}
    assert ports_to(objects, found["migrate"], Peer(address="10.20.1.9")) == set()
    assert ports_to(objects, found["gateway"], Peer(address="10.20.1.9")) == {6379}


def test_without_policies_everything_is_open(helm: Helm) -> None:
    """So that the checks above can fail."""
    objects = helm.objects(values_of("one-team") | {"networkPolicy": {"enabled": False}})
    found = components(objects)

    assert is_allowed(objects, found["migrate"], found["valkey"], 6379)
    assert ports_to(objects, STRANGER, found["gateway"]) == set(PORTS)
