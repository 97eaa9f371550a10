"""The error message a command prints when it fails, and its exit code."""

from typing import Final

from admin_api.encryption import EncryptionError
from admin_api.operations.validation import InvalidInput
from admin_api.reported_settings import SettingsError
from admin_api.storage.migrate import MigrationError
from gateway.domain.errors import GatewayError
from gateway.storage import failures

FAILED: Final = 1
# As that of an unknown option: no state of the system makes the command line right.
WRONG_INPUT: Final = 2


def exit_code(error: BaseException) -> int:
    """WRONG_INPUT if the command line itself is wrong, else FAILED: the system refused, or something failed."""
    return WRONG_INPUT if isinstance(error, InvalidInput) else FAILED


def explain(error: BaseException) -> str:
    """One sentence. For an unexpected exception it includes the type."""
    if isinstance(error, GatewayError):
        return f"{error.message} ({error.code})"
    if isinstance(error, SettingsError | MigrationError | EncryptionError):
        return str(error)
    if isinstance(error, OSError) and failures.is_of_this_machine(error):
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror or error}."
    return failures.explain(error) or f"Unexpected error: {type(error).__name__}: {error}"
