"""What a person at a terminal reads when something went wrong."""

from admin_api.encryption import EncryptionError
from admin_api.settings import SettingsError
from admin_api.storage.migrate import MigrationError
from gateway.domain.errors import GatewayError
from gateway.storage import failures


def explain(error: BaseException) -> str:
    """One sentence; for what nobody foresaw, at least what it is called."""
    if isinstance(error, GatewayError):
        return f"{error.message} ({error.code})"
    if isinstance(error, SettingsError | MigrationError | EncryptionError):
        return str(error)
    return failures.explain(error) or f"This should not have happened: {type(error).__name__}: {error}"
