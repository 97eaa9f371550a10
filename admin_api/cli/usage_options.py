"""The options that select calls, shared by commands about usage and refusals."""

from collections.abc import Callable, Sequence
from inspect import Parameter, signature
from typing import Annotated, Any

import typer

from admin_api.cli.options import moment_option, words_option
from admin_api.cli.session import key_id_of
from admin_api.operations.dates import PERIODS
from admin_api.operations.usage.scope import UsageFilter
from gateway.domain.calls import ENDINGS
from gateway.domain.error_classes import ERROR_CLASSES

Since = Annotated[str | None, moment_option(help="Start; 30 days ago if left out.")]
Until = Annotated[str | None, moment_option(help="End, exclusive; now if left out.")]
Period = Annotated[str | None, typer.Option(help=f"Instead of start and end: {PERIODS}.")]
Zone = Annotated[
    str | None,
    typer.Option(
        "--time-zone",
        metavar="ZONE",
        help="IANA name of the zone of days; if left out, of the team, user or key, else UTC.",
    ),
]
User = Annotated[str | None, typer.Option("--user", help="E-mail address or id.")]
Team = Annotated[str | None, typer.Option("--team", help="Name or id of the team.")]
Key = Annotated[str | None, typer.Option("--key", metavar="KEY", help="Id or last four characters of a key.")]
Models = Annotated[list[str] | None, typer.Option("--model", help="Name of a model; may be repeated.")]
Provider = Annotated[str | None, typer.Option(help="Provider of the models.")]
Endings = Annotated[list[str] | None, words_option(ENDINGS, "--ending", hint="May be repeated.")]
Classes = Annotated[list[str] | None, words_option(ERROR_CLASSES, "--error-class", hint="May be repeated.")]


def usage_filter(
    since: Since = None,
    until: Until = None,
    period: Period = None,
    time_zone: Zone = None,
    user: User = None,
    team: Team = None,
    key: Key = None,
    model: Models = None,
    provider: Provider = None,
    ending: Endings = None,
    error_class: Classes = None,
) -> UsageFilter:
    """What these options select."""
    return UsageFilter(
        since=since,
        until=until,
        period=period,
        time_zone=time_zone,
        user=user,
        team=team,
        key=key_id_of(key),
        models=model or (),
        provider=provider,
        endings=ending or (),
        error_classes=error_class or (),
    )


def filtered(*, without: Sequence[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds the options of `usage_filter`, but these, to a command, which receives them as its parameter `query`."""
    filters = {name: p for name, p in signature(usage_filter).parameters.items() if name not in without}

    def add(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in signature(command).parameters.values() if p.name != "query"]

        def run(**given: Any) -> None:
            command(query=usage_filter(**{name: given.pop(name) for name in filters}), **given)

        kinds = [p.replace(kind=Parameter.KEYWORD_ONLY) for p in (*own, *filters.values())]
        run.__signature__ = signature(command).replace(parameters=kinds)  # type: ignore[attr-defined]  # typer reads it
        run.__doc__ = command.__doc__
        return run

    return add
