"""Options of every command: one that may be given once is refused when it is repeated, and an unknown one is answered
with those there are. The parser of Typer lets the last of several values win."""

from collections import Counter
from typing import Annotated, Any

import typer
from typer._click.exceptions import NoSuchOption
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from admin_api.cli.operator import OPERATOR


class StrictCommand(TyperCommand):
    """A command that checks its options before it reads them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As Typer's. Raises UsageError also for a repeated option."""
        _check(self, ctx, args)
        return super().parse_args(ctx, args)


class StrictGroup(TyperGroup):
    """A group of commands that checks the options before the command's name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As Typer's. Raises UsageError also for a repeated option."""
        _check(self, ctx, args)
        return super().parse_args(ctx, args)


class OperatorCommand(StrictCommand):
    """A command with an operation, so with the option --as."""

    def __init__(self, name: str | None, *, params: list[Any] | None = None, **rest: Any) -> None:
        super().__init__(name, params=[*(params or []), as_option()], **rest)


class RootGroup(StrictGroup):
    """`litemaas` itself, which takes --as before the command too."""

    def __init__(self, *, params: list[Any] | None = None, **rest: Any) -> None:
        super().__init__(params=[*(params or []), as_option()], **rest)


def as_option() -> Any:
    """--as: the command's function does not receive it; `operator()` does."""

    def keep(context: typer.Context, value: str | None) -> None:
        if value is not None:
            context.meta[OPERATOR] = value

    option = typer.Option(
        "--as",
        metavar="USER",
        expose_value=False,
        callback=keep,
        help="Who runs the command, for the audit log: e-mail address or id.",
    )

    def run(operator: str | None = None) -> None: ...

    run.__annotations__["operator"] = Annotated[str | None, option]
    alone = typer.Typer(add_completion=False)
    alone.command()(run)
    return next(parameter for parameter in get_command(alone).params if parameter.name == "operator")


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
