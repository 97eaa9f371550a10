"""What all commands have in common: an option that may be given once is refused when it is repeated, an unknown one
is answered with those there are, a wrong value with what it must be, and every command of a group knows --as.
The parser of Typer lets the last of several values win, and its errors are those of a library."""

from collections import Counter
from functools import cache
from typing import Annotated, Any, Final

import typer
from typer._click.exceptions import BadParameter, NoSuchOption
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from admin_api.cli.operator import OPERATOR
from admin_api.cli.options import TIME, TIME_ZONE

# Placeholders in the help, by the name of Typer's type.
PLACEHOLDERS: Final = {"str": "TEXT", "int": "NUMBER", "float": "NUMBER", "Path": "FILE"}
# Placeholders of texts that name something or are read, by the option's name.
OF_NAMES: Final = {
    "user": "USER", "owner": "USER", "member": "USER", "team": "TEAM", "model": "MODEL", "email": "EMAIL",
    "time_zone": "ZONE", "period": "PERIOD", "first": "DAY", "last": "DAY", "no_login_for": "AGE", "unused_for": "AGE",
    "amount": "AMOUNT", "burst": "FACTOR", "tier": "TIER", "address": "ADDRESS", "allowed_ip": "ADDRESS", "url": "URL",
    "request_id": "REQUEST-ID", "cursor": "CURSOR", "locale": "LANGUAGE", "code": "CODE", "anchor": "ANCHOR",
    "about": "KIND:NAME", "target": "NAME", "host": "HOST",
}  # fmt: skip


class StrictCommand(TyperCommand):
    """A command that checks its options before it reads them."""

    def __init__(self, name: str | None, *, params: list[Any] | None = None, **rest: Any) -> None:
        for parameter in params or []:
            _name_placeholder(parameter)
        super().__init__(name, params=params, **rest)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As Typer's. Raises UsageError also for a repeated option."""
        _check(self, ctx, args)
        try:
            return super().parse_args(ctx, args)
        except BadParameter as error:
            raise _in_our_words(error) from None


class StrictGroup(TyperGroup):
    """A group of commands that checks the options before the command's name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As Typer's. Raises UsageError also for a repeated option."""
        _check(self, ctx, args)
        return super().parse_args(ctx, args)


class OperatorCommand(StrictCommand):
    """A command with an operation, so with the option --as; one that takes dates has --time-zone."""

    def __init__(self, name: str | None, *, params: list[Any] | None = None, **rest: Any) -> None:
        own = params or []
        takes_dates = any(getattr(parameter, "metavar", None) == TIME for parameter in own)
        if takes_dates and not any("--time-zone" in parameter.opts for parameter in own):
            own = [*own, context_option("--time-zone", TIME_ZONE, "ZONE", "IANA name of the zone of dates; UTC.")]
        super().__init__(name, params=[*own, as_option()], **rest)


class RootGroup(StrictGroup):
    """`litemaas` itself, which takes --as before the command too, and says its version."""

    def __init__(self, *, params: list[Any] | None = None, **rest: Any) -> None:
        super().__init__(params=[*(params or []), as_option(), version_option()], **rest)


def as_option() -> Any:
    """--as, for `operator()`."""
    return context_option("--as", OPERATOR, "USER", "Who runs the command, for the audit log: e-mail address or id.")


@cache
def context_option(name: str, key: str, metavar: str, text: str) -> Any:
    """An option that the command's function does not receive: its value is in the context, under the key."""

    def keep(context: typer.Context, value: str | None) -> None:
        if value is not None:
            if key == TIME_ZONE:
                _check_zone(value)
            context.meta[key] = value

    option = _made_alone(str | None, typer.Option(name, metavar=metavar, expose_value=False, callback=keep, help=text))
    # By this name the parser keeps its value, apart from those of other options.
    option.name = key
    return option


@cache
def version_option() -> Any:
    """--version, which prints it and ends the command."""

    def show(is_wanted: bool) -> None:
        if is_wanted:
            from importlib.metadata import version

            typer.echo(f"litemaas {version('litemaas')}")
            raise typer.Exit

    return _made_alone(
        bool, typer.Option("--version", expose_value=False, is_eager=True, callback=show, help="Show the version.")
    )


def _made_alone(kind: Any, option: Any) -> Any:
    """An option as Typer makes it for a function."""

    def run(option: Any = None) -> None: ...

    run.__annotations__["option"] = Annotated[kind, option]
    alone = typer.Typer(add_completion=False)
    alone.command()(run)
    return next(parameter for parameter in get_command(alone).params if parameter.name == "option")


def _check_zone(zone: str) -> None:
    """Also where no date is given that is read in it."""
    from admin_api.operations.validation import check_time_zone

    check_time_zone(zone)


def make_strict(app: typer.Typer, command_class: type[StrictCommand] = StrictCommand) -> None:
    """Every command and group of the app, whatever module it is from; commands of groups know --as."""
    for command in app.registered_commands:
        command.cls = command_class
    for group in app.registered_groups:
        group.cls = StrictGroup
        if group.typer_instance is not None:
            make_strict(group.typer_instance, OperatorCommand)


def _check(command: TyperCommand | TyperGroup, ctx: Any, args: list[str]) -> None:
    if ctx.resilient_parsing:
        return
    options = [parameter for parameter in command.get_params(ctx) if isinstance(parameter, TyperOption)]
    try:
        # The parser uses up the list that it is given.
        given = command.make_parser(ctx).parse_args(args=list(args))[2]
    except NoSuchOption as error:
        error.possibilities = [name for option in options for name in (*option.opts, *option.secondary_opts)]
        raise
    times = Counter(id(parameter) for parameter in given)
    for option in options:
        if times[id(option)] > 1 and not option.multiple and not option.count:
            ctx.fail(f"{max(option.opts, key=len)} may be given once only.")


def _name_placeholder(parameter: Any) -> None:
    if getattr(parameter, "metavar", None) is None and not getattr(parameter, "is_flag", False):
        word = _placeholder(parameter)
        if isinstance(parameter, TyperArgument):
            word = str(parameter.name).upper().replace("_", "-")
            word = f"{word}…" if parameter.nargs == -1 else word
        parameter.metavar = word
    if isinstance(parameter, TyperArgument):
        # Its name says it, without the name of a type behind.
        parameter.display_type_rich = lambda ctx: ""  # type: ignore[method-assign]


def _placeholder(parameter: Any) -> str:
    word, name = PLACEHOLDERS.get(_type_of(parameter), "TEXT"), str(parameter.name)
    if word != "TEXT":
        return word
    return "USD" if name.endswith("_usd") else OF_NAMES.get(name, word)


def _type_of(parameter: Any) -> str:
    """`str`, `int`, …: of the type without None, or of the items of a list."""
    text = str(getattr(parameter.type_descriptor, "annotation", ""))
    return next((name for name in ("int", "float", "Path") if name in text), "str")


def _in_our_words(error: BadParameter) -> BadParameter:
    """Numbers are read by a library whose errors speak of its types; other checks are our own."""
    parameter: Any = error.param
    if parameter is None or _type_of(parameter) not in ("int", "float"):
        return error
    number = "a whole number" if _type_of(parameter) == "int" else "a number"
    least, most = getattr(parameter, "min", None), getattr(parameter, "max", None)
    bounds = f" from {least}" if least is not None else ""
    bounds += f" to {most}" if most is not None else ""
    return BadParameter(f"It must be {number}{bounds}.", ctx=error.ctx, param=parameter)
