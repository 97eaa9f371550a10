"""Who runs a command: the actor of its operations. The help of `litemaas` imports this, so it imports no operations."""

import os
import pwd
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from typer._click.globals import get_current_context

if TYPE_CHECKING:
    from admin_api.operations.actors import Actor
    from gateway.storage.postgres import Executor

# Where the value of --as is kept, in the `meta` of the context, which a command shares with its groups.
OPERATOR: Final = "litemaas.operator"
# The user who logged in to this machine, whatever sudo and su made of them since; all bits are set for nobody.
LOGIN_UID: Final = Path("/proc/self/loginuid")
NO_UID: Final = 2**32 - 1
_named: "ContextVar[Actor | None]" = ContextVar("_named", default=None)


def operator() -> "Actor":
    """The actor of a command: an admin, in audit rows `cli:` and the user that --as names, else the user of the
    operating system."""
    from admin_api.operations.actors import Actor

    return _named.get() or Actor(name=f"cli:{_os_user()}", role="admin", via=_command())


def context_value(key: str) -> str | None:
    """Of an option that is kept in the context of the running command, as --as and --time-zone; None without it."""
    context = get_current_context(silent=True)
    value: str | None = context.meta.get(key) if context else None
    return value


async def name_operator(executor: "Executor", default: str | None) -> None:
    """Looks up whom --as names, or else `default`: what `operator` returns from now on. Raises GatewayError
    `not_found`, or `forbidden` for a deactivated user."""
    from admin_api.operations.actors import Actor
    from admin_api.operations.lookups import get_user
    from gateway.domain.errors import GatewayError

    reference = context_value(OPERATOR) or default
    if reference is None:
        return
    user = await get_user(executor, reference)
    if user.status != "active":
        raise GatewayError("forbidden", f"'{user.email}' is deactivated and can run no command.")
    # Who runs commands has the database; but somebody who may only read is not to be named as who changed something.
    role: Literal["admin", "admin-readonly"] = "admin-readonly" if user.role == "admin-readonly" else "admin"
    _named.set(Actor(name=f"cli:{user.email}", role=role, user_id=user.id, via=_command()))


def _command() -> str:
    context = get_current_context(silent=True)
    return context.command_path if context else "litemaas"


def _os_user() -> str:
    try:
        number = int(LOGIN_UID.read_text())
    except (OSError, ValueError):
        number = NO_UID
    # sudo says who called it; only root can be called so.
    caller = os.environ.get("SUDO_USER") if os.getuid() == 0 else None  # noqa: TID251  not a setting
    if number == NO_UID and caller:
        return caller
    number = os.getuid() if number == NO_UID else number
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        # OpenShift runs containers as a user without a name.
        return str(number)
