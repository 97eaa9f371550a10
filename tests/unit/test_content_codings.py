"""D11: bodies that were compressed on the way, in pieces of any size."""

import gzip
import itertools
import os
import random
from collections.abc import Callable

import pytest

from gateway.domain.errors import GatewayError
from gateway.web.bodies import BodyBudget, ClientLeft, HeldBody, read_body
from gateway.web.content_codings import DECODER_BYTES, MAX_CODINGS, MAX_FRAMES, PIECE_BYTES, Bounds, UnpackedBody, zstd
from gateway.web.responses import Message
from gateway.web.zstd_frames import MAX_WINDOW, window_bytes

MAXIMUM = 4 * 1024 * 1024
PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress}
BODIES = {
    "a short one": b'{"model":"demo-chat"}',
    "nothing": b"",
    "one piece exactly": b"x" * PIECE_BYTES,
    "repetitive": b'{"a":1},' * 100_000,
    "random": os.urandom(200_000),
}


class Sender:
    """Sends a body in pieces of that size."""

    def __init__(self, body: bytes, size: int, *, leaves: bool = False) -> None:
        pieces = [body[n : n + size] for n in range(0, len(body), size)] or [b""]
        self._messages: list[Message] = [{"type": "http.request", "body": p, "more_body": True} for p in pieces]
        if leaves:
            self._messages.append({"type": "http.disconnect"})
        else:
            self._messages[-1]["more_body"] = False

    async def receive(self) -> Message:
        return self._messages.pop(0)


async def unpacked(
    sent: bytes, codings: str, *, size: int = 65536, maximum: int = MAXIMUM, held: HeldBody | None = None
) -> bytes:
    with BodyBudget(10**9).hold() as own:
        bounds = Bounds(maximum, held or own)
        body = UnpackedBody(Sender(sent, size).receive, codings.encode(), bounds)
        return await read_body(body.receive, None, maximum, bounds.held)


async def refusal(sent: bytes, codings: str, **options: int) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await unpacked(sent, codings, **options)
    return caught.value


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("size", [50, 4096, 10**7])
@pytest.mark.parametrize("codings", [("gzip",), ("zstd",), ("gzip", "zstd"), ("zstd", "gzip", "gzip")])
async def test_d11_what_was_packed_comes_out(body: bytes, size: int, codings: tuple[str, ...]) -> None:
    sent = body
    for coding in codings:
        sent = PACK[coding](sent)

    assert await unpacked(sent, ", ".join(codings), size=size) == body


async def test_after_the_bodys_end_comes_what_the_server_says_next() -> None:
    """A watch for callers who leave asks again until one says so: an empty message each time would stop the loop."""
    messages = [{"type": "http.request", "body": gzip.compress(b"x")}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return messages.pop(0)

    with BodyBudget(10**9).hold() as held:
        body = UnpackedBody(receive, b"gzip", Bounds(MAXIMUM, held))
        received = [await body.receive() for _ in range(3)]

    assert [message["type"] for message in received] == ["http.request", "http.request", "http.disconnect"]


@pytest.mark.parametrize("coding", PACK)
async def test_d11_frames_one_after_another_are_one_body(coding: str) -> None:
    parts = [b"one ", b"", b"x" * 200_000, b" four"]
    sent = b"".join(PACK[coding](part) for part in parts)

    for size in (1, 1000, 10**6):
        assert await unpacked(sent, coding, size=size) == b"".join(parts)


async def test_d11_a_frame_of_zstd_that_is_to_be_skipped() -> None:
    skipped = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"

    assert await unpacked(skipped + zstd.compress(b"body") + skipped, "zstd", size=3) == b"body"


@pytest.mark.parametrize("value", ["", ",", "identity", "Identity,", " , identity ,"])
async def test_d11_no_coding_at_all(value: str) -> None:
    assert await unpacked(b"as it is", value) == b"as it is"


@pytest.mark.parametrize("value", ["GZIP", "x-gzip", "gzip,identity", ", gzip ,"])
async def test_d11_names_of_gzip(value: str) -> None:
    assert await unpacked(gzip.compress(b"body"), value) == b"body"


@pytest.mark.parametrize(
    "value", ["br", "deflate", "compress", "aes128gcm", "gzip, br", "gzip;q=1", "zst d", "é", ",".join(["gzip"] * 5)]
)
async def test_d11_other_codings_are_refused_with_what_is_accepted(value: str) -> None:
    error = await refusal(b"{}", value)

    assert (error.status, error.code) == (415, "unsupported_media_type")
    assert error.headers["accept-encoding"] == "gzip, zstd"
    assert "é" not in error.message
    assert MAX_CODINGS < 5


@pytest.mark.parametrize("codings", [("gzip",), ("zstd",), ("gzip", "zstd"), ("zstd", "gzip")])
async def test_d11_a_body_that_is_cut_anywhere_is_refused(codings: tuple[str, ...]) -> None:
    sent = b'{"model":"demo-chat","messages":[{"role":"user","content":"Hello"}]}'
    for coding in codings:
        sent = PACK[coding](sent)

    for end in range(len(sent)):
        error = await refusal(sent[:end], ", ".join(codings), size=13)
        assert (error.status, error.code, "its end is missing" in error.message) == (400, "invalid_request", True)


@pytest.mark.parametrize("coding", PACK)
async def test_d11_a_body_that_is_broken_or_not_packed_is_refused(coding: str) -> None:
    whole = PACK[coding](b"x" * 1000 + os.urandom(1000))
    broken = [b'{"model":"demo-chat"}', whole + b"more than that", whole[:7] + b"\xff" * 40 + whole[47:], b"\0" * 100]

    for sent in broken:
        error = await refusal(sent, coding)
        assert (error.status, error.code, "not valid" in error.message) == (400, "invalid_request", True)


async def test_d11_a_disconnect_stays_one() -> None:
    sender = Sender(gzip.compress(b"body")[:9], 4, leaves=True)
    with BodyBudget(10**9).hold() as held:
        body = UnpackedBody(sender.receive, b"gzip", Bounds(100, held))
        with pytest.raises(ClientLeft):
            await read_body(body.receive, None, 100, held)


ZEROS = b"\0" * (64 * 1024 * 1024)
GZIP_BOMB, ZSTD_BOMB = gzip.compress(ZEROS, 1), zstd.compress(ZEROS)
EMPTY = {"gzip": gzip.compress(b""), "zstd": zstd.compress(b"")}
BOMBS = {
    "gzip": (("gzip",), GZIP_BOMB),
    "zstd": (("zstd",), ZSTD_BOMB),
    "gzip in gzip": (("gzip", "gzip"), gzip.compress(GZIP_BOMB)),
    "zstd in gzip": (("zstd", "gzip"), gzip.compress(ZSTD_BOMB)),
    "gzip in zstd": (("gzip", "zstd"), zstd.compress(GZIP_BOMB)),
    # Nothing comes out of the second coding, and very much out of the first.
    "skipped frames in gzip": (
        ("zstd", "gzip"),
        gzip.compress(b"\x50\x2a\x4d\x18" + len(ZEROS).to_bytes(4, "little") + ZEROS, 1),
    ),
}


@pytest.mark.parametrize("name", BOMBS)
async def test_d11_a_bomb_is_too_large_and_no_more_is_unpacked_than_the_bound(name: str) -> None:
    codings, sent = BOMBS[name]
    seen = 0

    with BodyBudget(10**9).hold() as held:
        body = UnpackedBody(Sender(sent, 65536).receive, ", ".join(codings).encode(), Bounds(MAXIMUM, held))
        try:
            while True:
                piece = (await body.receive())["body"]
                assert len(piece) <= PIECE_BYTES
                seen += len(piece)
        except GatewayError as error:
            refused = error

    assert (refused.status, refused.code) == (413, "request_too_large")
    assert seen <= MAXIMUM


@pytest.mark.parametrize("coding", EMPTY)
async def test_d11_frames_without_end_are_refused(coding: str) -> None:
    assert await unpacked(EMPTY[coding] * MAX_FRAMES, coding) == b""

    error = await refusal(EMPTY[coding] * (MAX_FRAMES + 1), coding)
    assert (error.status, error.code) == (400, "invalid_request")


def packed_with(window_log: int, content: bytes, *, knows_size: bool) -> bytes:
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: window_log})
    if knows_size:
        packer.set_pledged_input_size(len(content))
    return packer.compress(content[:1]) + packer.compress(content[1:], packer.FLUSH_FRAME)


@pytest.mark.parametrize("window_log", range(10, 28))
async def test_d11_the_window_of_zstd_is_the_decoders_own_reading(window_log: int) -> None:
    """The library refuses exactly the frames whose window we read as too large."""
    content = b"x" * 100
    sent = packed_with(window_log, content, knows_size=False)
    assert window_bytes(sent[:6]) == 1 << window_log
    if 1 << window_log <= MAX_WINDOW:
        assert await unpacked(sent, "zstd") == content
        return

    assert "window" in (await refusal(sent, "zstd")).message
    with pytest.raises(zstd.ZstdError, match="memory"):
        zstd.decompress(sent, options={zstd.DecompressionParameter.window_log_max: 23})


@pytest.mark.parametrize("size", [1, 255, 256, 257, 65_791, 65_792, 70_000, MAX_WINDOW, MAX_WINDOW + 1])
def test_d11_a_single_segment_of_zstd_is_its_own_window(size: int) -> None:
    sent = packed_with(24, b"x" * size, knows_size=True)
    assert sent[4] & 0b10_0000

    known = next(n for n in itertools.count() if window_bytes(sent[:n]) is not None)
    assert known <= 13
    assert {window_bytes(sent[:n]) for n in range(known, 20)} == {size}


async def test_d11_what_decoders_need_is_held_while_they_need_it() -> None:
    content = os.urandom(100_000)
    sent = packed_with(20, content, knows_size=False)
    budget = BodyBudget(10 * 1024 * 1024)
    with budget.hold() as held:
        sender = Sender(sent, 50_000)
        body = UnpackedBody(sender.receive, b"zstd", Bounds(MAXIMUM, held))
        got = (await body.receive())["body"]
        assert budget.held_bytes == (1 << 20) + DECODER_BYTES
        while piece := (await body.receive())["body"]:
            got += piece
        assert (got, budget.held_bytes) == (content, 0)

    small = BodyBudget((1 << 20) + DECODER_BYTES - 1)
    with small.hold() as held, pytest.raises(GatewayError) as caught:
        await unpacked(sent, "zstd", held=held)
    assert (caught.value.status, caught.value.code, small.held_bytes) == (503, "overloaded", 0)


async def test_d11_random_bytes_are_unpacked_or_refused_and_nothing_stays_held() -> None:
    chance = random.Random(11)
    budget = BodyBudget(64 * 1024 * 1024)
    outcomes = set()
    for _ in range(3000):
        codings = chance.choices(("gzip", "zstd"), k=chance.randint(1, 2))
        sent = chance.randbytes(chance.randint(0, 200)) * chance.randint(1, 20)
        for coding in codings:
            sent = PACK[coding](sent)
        damaged = bytearray(sent)
        for _ in range(chance.randint(0, 3)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            with budget.hold() as held:
                await unpacked(bytes(damaged), ", ".join(codings), size=chance.randint(1, 300), held=held)
            outcomes.add("unpacked")
        except GatewayError as error:
            outcomes.add(error.code)
        assert budget.held_bytes == 0

    assert outcomes == {"unpacked", "invalid_request"}
