"""Who runs a command: the actor of its operations."""

import os
import pwd
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Final

from typer._click.globals import get_current_context

from admin_api.operations.actors import Actor
from admin_api.operations.lookups import get_user
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

# Where the value of --as is kept, in the `meta` of the context, which a command shares with its groups.
OPERATOR: Final = "litemaas.operator"
# The user who logged in to this machine, whatever sudo and su made of them since; all bits are set for nobody.
LOGIN_UID: Final = Path("/proc/self/loginuid")
NO_UID: Final = 2**32 - 1
_named: ContextVar[Actor | None] = ContextVar("_named", default=None)


def operator() -> Actor:
    """The actor of a command: an admin, in audit rows `cli:` and the user that --as names, else the user of the
    operating system."""
    return _named.get() or Actor(name=f"cli:{_os_user()}", role="admin", via=_command())


def is_named() -> bool:
    """Whether --as is given."""
    context = get_current_context(silent=True)
    return context is not None and OPERATOR in context.meta


async def name_operator(executor: "Executor", default: str | None) -> None:
    """Looks up whom --as names, or else `default`: what `operator` returns from now on. Raises GatewayError
    `not_found`, or `forbidden` for a deactivated user."""
    context = get_current_context(silent=True)
    reference = (context.meta.get(OPERATOR) if context else None) or default
    if reference is None:
        return
    user = await get_user(executor, reference)
    if user.status != "active":
        raise GatewayError("forbidden", f"'{user.email}' is deactivated and can run no command.")
    _named.set(Actor(name=f"cli:{user.email}", role="admin", user_id=user.id, via=_command()))


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
