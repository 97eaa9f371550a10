"""The same as a file: the table of the page, days, single calls, JSON, FOCUS."""

from collections.abc import AsyncIterator, Mapping
from typing import Final

from starlette.responses import Response, StreamingResponse

from admin_api.operations.actors import require_reader
from admin_api.operations.csv_formats import csv_format_of
from admin_api.operations.usage.exports import export_usage
from admin_api.operations.usage.overview import OverviewInput, read_overview
from admin_api.portal.pages.usage.question import OF_ALL, OWN, Audience, Question
from admin_api.portal.pages.usage.show import TOP, order_of
from admin_api.portal.visits import Visit
from admin_api.schemas import usage_files
from gateway.domain.errors import GatewayError

# Format and detail of the operation.
KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "days.csv": ("csv", "days"),
    "calls.csv": ("csv", "calls"),
    "days.json": ("json", "days"),
    "focus.csv": ("focus", "days"),
}
VIEW: Final = "table.csv"


async def send(visit: Visit) -> Response:
    """Of the person's own calls, or of a team they own."""
    return await _send(visit, OWN)


async def send_of_all(visit: Visit) -> Response:
    """Of all accounts, for admins."""
    require_reader(visit.actor)
    return await _send(visit, OF_ALL)


async def _send(visit: Visit, audience: Audience) -> Response:
    question, kind = Question.of(visit, audience), visit.request.path_params["kind"]
    if kind == VIEW:
        return await _send_table(visit, question)
    if kind not in KINDS:
        raise GatewayError("not_found", f"There is no file {kind}.")
    file_format, detail = KINDS[kind]
    export = await export_usage(
        visit.pool, visit.actor, question.filter, file_format=file_format, detail=detail, locale=visit.language
    )
    return _file(usage_files.parts_of(export), usage_files.name_of(export), usage_files.MEDIA_TYPES[file_format])


async def _send_table(visit: Visit, question: Question) -> Response:
    asked = OverviewInput(
        by=question.by, then_by=question.then_by or None, order=order_of(question), limit=TOP, step="month"
    )
    overview = await read_overview(visit.pool, visit.actor, question.filter, asked, store=visit.usage_store)
    content = usage_files.table_of(overview, csv_format_of(visit.language))
    return _file(content, usage_files.name_of_table(overview), "text/csv")


def _file(parts: AsyncIterator[bytes], name: str, media_type: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(parts, media_type=media_type, headers=headers)
