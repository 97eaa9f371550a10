"""The README promises what `litemaas doctor` demands, and `make test-debian` tries."""

import re

from admin_api.operations.doctor.database import OLDEST_VERSION
from admin_api.operations.doctor.redis import OLDEST_REDIS
from tests.contract.coverage_figure import README, ROOT

PAGE = ROOT / "docs" / "operations.md"


def test_the_page_of_the_doctor_names_the_oldest_postgres_that_the_doctor_accepts() -> None:
    rows = re.findall(r"^\| postgres \|.* is older than (\d+)", PAGE.read_text(), re.MULTILINE)

    assert [int(version) for version in rows] == [OLDEST_VERSION]


def test_the_readme_names_the_oldest_versions_that_the_doctor_accepts() -> None:
    said = re.search(r"You need Postgres (\d+) or later .*?, Redis (\d+) or later", README.read_text(), re.DOTALL)

    assert said is not None
    assert [int(version) for version in said.groups()] == [OLDEST_VERSION, OLDEST_REDIS]
