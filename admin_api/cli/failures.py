"""The error message a command prints when it fails."""

from admin_api.encryption import EncryptionError
from admin_api.settings import SettingsError
from admin_api.storage.migrate import MigrationError
from gateway.domain.errors import GatewayError
from gateway.storage import failures


def explain(error: BaseException) -> str:
    """One sentence. For an unexpected exception it includes the type."""
    if isinstance(error, GatewayError):
        return f"{error.message} ({error.code})"
    if isinstance(error, SettingsError | MigrationError | EncryptionError):
        return str(error)
    return failures.explain(error) or f"Unexpected error: {type(error).__name__}: {error}"
