"""The address where a program listens, as a setting names it."""

import re
from dataclasses import dataclass
from typing import Final, Self

OFF: Final = "off"
# `host`, `host:port`, `[::1]` or `[::1]:port`.
_ADDRESS: Final = re.compile(r"(?:\[([0-9a-fA-F:.%]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """`port` None: the program's own default."""

    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """None for `off`. Raises ValueError, which says what an address looks like."""
        text = text.strip()
        if text == OFF:
            return None
        if text.count(":") > 1 and not text.startswith("["):
            text = f"[{text}]"
        found = _ADDRESS.fullmatch(text)
        port = int(found[3]) if found and found[3] else None
        if found is None or (port is not None and not 0 < port < 65536):
            raise ValueError("an address, with a port or without, as 127.0.0.1:9464 or [::1]:9464; or off")
        return cls(found[1] or found[2], port)
