"""How a call to LiteLLM can fail. Only a call that was surely not taken may be sent to another address."""


class UpstreamUnreachable(Exception):
    """No connection could be made: the call was surely not taken."""


class UpstreamBroken(Exception):
    """The connection broke after the call was sent, or what came over it is no HTTP."""


class UpstreamSilent(Exception):
    """Nothing came for the set time."""


class UpstreamRefused(Exception):
    """It answered the request for a WebSocket with `status`."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the upgrade was answered with {status}")
        self.status = status
