"""Every path of the vendors' public APIs is served, or refused with a reason. Case D18."""

import pytest

from contract.vendor_paths import ANY_CALL, CALL, PACKAGES, VendorPath, sources, vendor_paths
from gateway.endpoints.missing_paths import REFUSED, explain
from gateway.endpoints.registry import ENDPOINTS
from gateway.web.errors import ErrorShape

PATHS = vendor_paths()


@pytest.mark.parametrize("vendor", PACKAGES)
def test_d18_the_paths_of_a_package_are_found(vendor: ErrorShape) -> None:
    counts = [(len(CALL.findall(source)), len(ANY_CALL.findall(source))) for source in sources(vendor)]

    assert sum(found for found, _ in counts) > 500
    assert [found for found, _ in counts] == [calls for _, calls in counts]


def test_d18_each_path_is_served_or_refused_with_a_reason() -> None:
    assert [one for one in PATHS if one.is_served == (one.refusal is not None)] == []


def test_d18_each_reason_is_of_a_path_that_a_vendor_has() -> None:
    older = {("anthropic", "/complete")}
    used = {(one.vendor, one.refusal.beginning) for one in PATHS if one.refusal}
    assert {(one.vendor, one.beginning) for one in REFUSED} - used == older


def test_d18_every_endpoint_of_the_vendors_is_among_the_served() -> None:
    served = {one.path for one in PATHS if one.is_served}

    assert {endpoint.path for endpoint in ENDPOINTS} - served == {"/v1/rerank"}


@pytest.mark.parametrize("one", [one for one in PATHS if not one.is_served], ids=lambda one: f"{one.method} {one.path}")
def test_d18_what_a_404_says_has_the_reason_and_no_false_hint(one: VendorPath) -> None:
    says, shape = explain(one.method, one.example)

    assert says.startswith("It is not served, for ")
    assert shape in (one.vendor, None)
