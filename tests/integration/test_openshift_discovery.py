"""OpenShift's metadata is taken from either place (A17)."""

import json
from typing import Any

import pytest
from admin_client import check_error
from browsers import ME, running_admin_api
from conftest import Database
from identity_providers import PLANTED_SECRET, OpenShift, log_in
from starlette.responses import JSONResponse, PlainTextResponse, Response

NOT_THERE: dict[str, tuple[Response, str]] = {
    "404": (PlainTextResponse("no", 404), "HTTP 404"),
    "login page": (PlainTextResponse("<html>", 200), "no JSON"),
    "other JSON": (JSONResponse({"paths": []}), "no metadata"),
    "a list": (JSONResponse([1]), "no metadata"),
}


def settings(oauth_url: str, api_url: str) -> dict[str, Any]:
    return {
        "openshift_url": oauth_url,
        "openshift_api_url": api_url,
        "openshift_client_id": "litemaas",
        "openshift_client_secret": PLANTED_SECRET,
        "log_level": "info",
    }


def logged(capfd: pytest.CaptureFixture[str], event: str) -> list[dict[str, Any]]:
    lines = "".join(capfd.readouterr()).splitlines()
    return [json.loads(line) for line in lines if f'"{event}"' in line]


@pytest.mark.parametrize("case", NOT_THERE)
async def test_a17_metadata_is_found_at_the_api_server_and_the_log_says_so(
    database: Database, capfd: pytest.CaptureFixture[str], case: str
) -> None:
    async with OpenShift() as oauth, OpenShift() as api:
        oauth.metadata_answer, said = NOT_THERE[case]
        async with running_admin_api(database, **settings(oauth.url, api.url)) as new_browser, new_browser() as browser:
            back = await log_in(browser)
            me = (await browser.get(ME)).json()

    assert (back.status_code, me["email"]) == (302, "ann@openshift.invalid")
    answers = {"LITEMAAS_OPENSHIFT_URL": said, "LITEMAAS_OPENSHIFT_API_URL": "metadata"}
    assert [line["answers"] for line in logged(capfd, "openshift_metadata_found")] == [answers]


async def test_a17_an_oauth_server_that_does_not_answer_is_found_by_the_api_server(database: Database) -> None:
    async with OpenShift() as api:
        settings_of_one = settings("http://127.0.0.1:1", api.url)
        async with running_admin_api(database, **settings_of_one) as new_browser, new_browser() as browser:
            assert (await log_in(browser)).status_code == 302


async def test_a17_metadata_of_the_oauth_server_comes_first(database: Database) -> None:
    async with (
        OpenShift() as oauth,
        OpenShift() as api,
        running_admin_api(database, **settings(oauth.url, api.url)) as new_browser,
        new_browser() as browser,
    ):
        away = await browser.get("/api/auth/login")

    assert away.headers["location"].startswith(f"{oauth.url}/oauth/authorize")


async def test_a17_a_refusal_says_what_both_places_answered(
    database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    async with OpenShift() as oauth:
        oauth.metadata_answer = PlainTextResponse("no", 404)
        gone = settings(oauth.url, "http://127.0.0.1:1")
        async with running_admin_api(database, **gone) as new_browser, new_browser() as browser:
            refused = await browser.get("/api/auth/login")
            oauth.metadata_answer = None
            again = await browser.get("/api/auth/login")

    check_error(refused, 503, "upstream_unavailable")
    message = refused.json()["error"]["message"]
    assert "LITEMAAS_OPENSHIFT_URL (HTTP 404), LITEMAAS_OPENSHIFT_API_URL (no answer: ConnectError)" in message
    assert len(logged(capfd, "openshift_metadata_missing")) == 1
    assert again.status_code == 302
