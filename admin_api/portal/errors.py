"""Errors are pages too, in the person's language, with the id of the request."""

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from admin_api.portal.formatters import Formats
from admin_api.portal.languages import choose_language, translations
from admin_api.portal.refusal_texts import in_language
from admin_api.portal.rendering import Page, render_before_login, render_page
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from admin_api.web.envelope import error_of

TITLES: Final[Mapping[int, str]] = {
    400: marked("This cannot be read"),
    403: marked("You may not do this"),
    404: marked("There is nothing here"),
    405: marked("This page takes no form"),
    409: marked("This has changed meanwhile"),
    412: marked("This has changed meanwhile"),
    422: marked("Something is not right yet"),
    429: marked("Too many requests"),
    503: marked("Not available at this moment"),
}
OTHERWISE: Final = marked("Something went wrong")
# By code: what is said instead of the message.
MESSAGES: Final[Mapping[str, str]] = {
    "internal_error": marked("The fault is ours. An admin finds it in the log by the id of the request."),
    "database_unavailable": marked("The database does not answer at this moment. Try again in a few seconds."),
}


def answer_failure(request: Request, visit: Visit | None, exc: Exception) -> Response:
    """The page of whatever a view, or the login before it, has raised."""
    language = visit.language if visit else choose_language(None, request.headers.get("accept-language", ""))
    gettext = translations(language).gettext
    error = error_of(exc, request.scope)
    status = error.status
    message = gettext(MESSAGES[error.code]) if error.code in MESSAGES else in_language(language, error.message)
    title = gettext(TITLES.get(status, OTHERWISE))
    if visit is None:
        formats = Formats(language, "UTC")
        answer: Response = render_before_login(
            request, "error_before_login.html", formats, status, title=title, message=message
        )
    else:
        page = Page("error.html", title, {"summary": title, "message": message}, status)
        answer = render_page(visit, page)
    answer.headers.update(error.headers)
    return answer
