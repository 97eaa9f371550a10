"""An upstream that records each request byte for byte and responds with bytes set by the test."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

import msgspec

DONE: Final = b"data: [DONE]\n\n"


class RecordingUpstream:
    """A real server on a socket. `disconnected` is set when a gateway closes a connection before the response ended."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.sent_bytes = 0
        self.disconnected = asyncio.Event()
        self._pieces: Sequence[bytes] = ()
        self._sound: Sequence[bytes] = ()
        self._pause_s = 0.0
        self.url = ""

    def answer(
        self, body: bytes, *, status: str = "200 OK", kind: str = "application/json", headers: Sequence[str] = ()
    ) -> None:
        """A whole response with a content length."""
        # The server closes after each response and must announce it: else the next call may use the closing connection.
        reported = (f"content-type: {kind}", f"content-length: {len(body)}", "connection: close")
        head = [f"HTTP/1.1 {status}", *reported, *headers, "", ""]
        self.answer_verbatim(["\r\n".join(head).encode() + body])

    def stream(self, pieces: Sequence[bytes], *, pause_s: float = 0.002, is_whole: bool = True) -> None:
        """A stream with a chunk for each piece; if not `is_whole`, it ends without the last chunk."""
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
        self.answer_verbatim([head, *chunks, b"0\r\n\r\n" if is_whole else b""], pause_s=pause_s)

    def answer_verbatim(self, pieces: Sequence[bytes], *, pause_s: float = 0.0) -> None:
        self._pieces, self._pause_s = pieces, pause_s

    def answer_speech(self, sound: bytes) -> None:
        """What calls of speech get, whatever the others get."""
        head = b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self._sound = [head % len(sound) + sound]

    @property
    def body(self) -> Any:
        """The body of the last request, decoded."""
        return msgspec.json.decode(self.raw_body)

    @property
    def raw_body(self) -> bytes:
        return self.requests[-1].partition(b"\r\n\r\n")[2]

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the last request, names in lower case; fails for a repeated name."""
        lines = self.requests[-1].partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
        pairs = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            self.requests.append(head + await reader.readexactly(length))
            for piece in self._sound if b"/audio/speech " in head and self._sound else self._pieces:
                writer.write(piece)
                await writer.drain()
                self.sent_bytes += len(piece)
                await asyncio.sleep(self._pause_s)
                if reader.at_eof():
                    self.disconnected.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.disconnected.set()
        finally:
            # One request per connection.
            writer.close()


def event(**chunk: Any) -> bytes:
    """One event of a stream."""
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"
