from collections.abc import Iterator

import pytest

from tests.chart.charts import EXAMPLES, Helm, Object, running_helm, values_of


@pytest.fixture(scope="session")
def helm() -> Iterator[Helm]:
    with running_helm() as helm:
        yield helm


@pytest.fixture(scope="session")
def rendered(helm: Helm) -> dict[str, list[Object]]:
    """The objects of each example: `openshift` as it is installed, `openshift, upgraded` as it is upgraded."""
    return {
        f"{name}, upgraded" if is_upgrade else name: helm.objects(values_of(name), is_upgrade=is_upgrade)
        for name in EXAMPLES
        for is_upgrade in (False, True)
    }
