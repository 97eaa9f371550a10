"""Flash messages: what the page after a form says, once. They are kept in an encrypted cookie from the form's answer to
the next page, so that any replica shows them. A new key is shown so too: to load that page again neither shows the key
nor makes another.
"""

import base64
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, Literal

from starlette.requests import Request
from starlette.responses import Response

from admin_api.encryption import EncryptionError
from admin_api.web.cookies import read_cookie, set_cookie

if TYPE_CHECKING:
    from admin_api.settings import Settings

PURPOSE: Final = "portal flash"
KEPT_S: Final = 120
MAX_TEXT: Final = 1500


@dataclass(frozen=True, slots=True)
class Flash:
    """`text` is in the person's language; `secret` is a new key or token, which is never shown again."""

    kind: Literal["success", "info", "warning", "danger"]
    text: str
    secret: str | None = None

    def __repr__(self) -> str:
        return f"Flash(kind={self.kind!r}, text={self.text!r})"


def keep_flash(answer: Response, settings: "Settings", session_id: int | None, flash: Flash | None) -> None:
    """Gives the browser the message, for this session only; None: it was shown."""
    value = ""
    if flash is not None:
        plain = json.dumps(asdict(flash) | {"text": flash.text[:MAX_TEXT]}).encode()
        encrypted = settings.encryption_keys.encrypt(plain, purpose=PURPOSE, row=str(session_id))
        value = base64.urlsafe_b64encode(encrypted).decode()
    set_cookie(answer, settings, "flash", value, max_age=KEPT_S if flash is not None else 0)


def take_flash(request: Request, session_id: int | None) -> Flash | None:
    """The message of the session's last form."""
    settings: Settings = request.app.state.settings
    kept = read_cookie(request, "flash")
    if not kept:
        return None
    try:
        encrypted = base64.urlsafe_b64decode(kept)
        return Flash(**json.loads(settings.encryption_keys.decrypt(encrypted, purpose=PURPOSE, row=str(session_id))))
    except (ValueError, TypeError, EncryptionError):
        return None
