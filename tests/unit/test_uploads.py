"""Multipart forms with a file: parsing from chunks of any size, checks, and the rewritten form."""

import os
import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.calls import Usage
from gateway.domain.errors import GatewayError
from gateway.endpoints.audio import estimate_ms, parse_transcription, read_transcript
from gateway.upstream.client import Stored
from gateway.web.bodies import BodyBudget, ClientLeft
from gateway.web.uploads import MAX_IN_MEMORY, Upload, read_upload

TYPE = b"multipart/form-data; boundary=xYzZY"
FILE = b'name="file"; filename="a.wav"\r\nContent-Type: audio/wav'
MODEL = (b'name="model"', b"whisper")


def form(*parts: tuple[bytes, bytes], end: bytes = b"--xYzZY--\r\n") -> bytes:
    return b"".join(b"--xYzZY\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % part for part in parts) + end


def receiving(*chunks: bytes, leaves: bool = False) -> Callable[[], Any]:
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.disconnect"} if leaves else {"type": "http.request", "body": b""})

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    return receive


opened: list[Upload] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()


async def read(folder: Path, *chunks: bytes, maximum: int = 10**9, kind: bytes = TYPE, leaves: bool = False) -> Upload:
    with BodyBudget(10**9).hold() as held:
        opened.append(await read_upload(receiving(*chunks, leaves=leaves), kind, None, maximum, held, folder))
    return opened[-1]


async def sent(body: Stored) -> bytes:
    return b"".join([chunk async for chunk in body.chunks()])


async def refused(folder: Path, *chunks: bytes, **about: Any) -> GatewayError:
    try:
        parse_transcription(await read(folder, *chunks, **about))
    except GatewayError as error:
        return error
    raise AssertionError("it was taken")


async def test_fields_and_file_are_read_from_chunks_of_any_size(tmp_path: Path) -> None:
    sound = random.Random(1).randbytes(3000) + b"\r\n--xYzZ\r\n--" + b"\r" * 50  # no secret
    whole = form(
        (FILE, sound), MODEL, (b'name="timestamp_granularities[]"', b"word"), (b'name="prompt"', "ü🙂".encode())
    )
    chance = random.Random(2)  # no secret
    for size in (1, 2, 7, 64, 1000, 10**6):
        cuts = [0]
        while cuts[-1] < len(whole):
            cuts.append(cuts[-1] + max(1, chance.randint(size // 2, size)))
        upload = await read(tmp_path, *(whole[a:b] for a, b in pairwise(cuts)))
        upload.file.seek(0)
        assert upload.file.read() == sound
        assert upload.fields == [("model", "whisper"), ("timestamp_granularities[]", "word"), ("prompt", "ü🙂")]
        (file,) = upload.files
        assert (file.file_name, file.media_type, file.size) == ("a.wav", "audio/wav", len(sound))
        assert file.begins_with == sound[:64]
        upload.close()


async def test_a_rewritten_form_parses_to_the_same_form_each_time(tmp_path: Path) -> None:
    sound = random.Random(3).randbytes(MAX_IN_MEMORY * 2)  # no secret
    upload = await read(tmp_path, form(MODEL, (FILE, sound), (b'name="prompt"', b"a\r\n--xYzZ")))
    call = parse_transcription(upload)
    assert not isinstance(call.body, bytes)

    first, second = await sent(call.body), await sent(call.body)
    again = await read(tmp_path, first, kind=call.body.content_type.encode())

    assert first == second
    assert len(first) == call.body.size
    assert again.fields == upload.fields
    again.file.seek(0)
    assert again.file.read() == sound


async def test_a_file_name_cannot_end_its_header_or_leave_its_folder(tmp_path: Path) -> None:
    name = b'name="file"; filename="../../a%22; name=model\x01.wav"'
    upload = await read(tmp_path, form(MODEL, (name, b"x")))
    body = parse_transcription(upload).body
    assert not isinstance(body, bytes)

    again = await read(tmp_path, await sent(body), kind=body.content_type.encode())

    assert again.fields == [("model", "whisper")]
    (file,) = again.files
    assert "/" not in file.file_name
    assert '"' not in file.file_name


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([(FILE, b"x")], "model"),
        ([MODEL], "file"),
        ([MODEL, (FILE, b"")], "file"),
        ([MODEL, (b'name="file"', b"not a file")], "file"),
        ([MODEL, (FILE, b"x"), (FILE, b"y")], "file"),
        ([MODEL, (FILE, b"x"), (b'name="audio"; filename="b"', b"y")], "audio"),
        ([MODEL, MODEL, (FILE, b"x")], "model"),
        ([MODEL, (b'name="model"', b"other"), (FILE, b"x")], "model"),
        ([(b'name="model[]"', b"whisper"), (FILE, b"x")], "model"),
        ([MODEL, (b'name="model[]"', b"other"), (FILE, b"x")], "model"),
        ([MODEL, (b'name="model "', b"other"), (FILE, b"x")], "model "),
        ([MODEL, (b'name="metadata[tags]"', b"a"), (FILE, b"x")], "metadata[tags]"),
        ([MODEL, (b'name="litellm_metadata"', b"{}"), (FILE, b"x")], "litellm_metadata"),
        ([MODEL, (b'name="api_base"', b"http://there"), (FILE, b"x")], "api_base"),
        ([MODEL, (b'name="fallbacks[]"', b"other"), (FILE, b"x")], "fallbacks"),
        ([MODEL, (b'name="mock_response"', b"hi"), (FILE, b"x")], "mock_response"),
        ([MODEL, (b'name="stream"', b"true"), (FILE, b"x")], "stream"),
        ([(b'name="model"', b"a,b"), (FILE, b"x")], "model"),
        ([(b'name="model"', b"m" * 300), (FILE, b"x")], "model"),
        ([MODEL, (b'name="prompt"', b"p" * 70_000), (FILE, b"x")], "prompt"),
    ],
)
async def test_an_invalid_form_is_refused_with_the_field_name(
    parts: list[tuple[bytes, bytes]], param: str, tmp_path: Path
) -> None:
    error = await refused(tmp_path, form(*parts))

    assert error.status == 400
    assert error.param == param


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        form(MODEL, (FILE, b"x"), end=b""),
        form(MODEL, (FILE, b"x"), end=b"--xYzZY"),
        form((b"nothing", b"x")),
        form((b'name="a"\r\nContent-Disposition: form-data; name="b"', b"x")),
        b"--xYzZY\r\nno colon\r\n\r\nx\r\n--xYzZY--\r\n",
        b"--xYzZY\r\n" + b"a: b\r\n" * 20 + b"\r\nx\r\n--xYzZY--\r\n",
        b"--xYzZY\r\n" + b"a" * 10_000 + b": b\r\n\r\nx\r\n--xYzZY--\r\n",
        form(*[(b'name="f%d"' % n, b"x") for n in range(100)]),
        form((b'name="\xff"', b"x")),
        form((b'name="prompt"', b"\xff")),
        form((b'name="' + b"n" * 500 + b'"', b"x")),
    ],
)
async def test_a_malformed_form_is_a_clear_error(body: bytes, tmp_path: Path) -> None:
    error = await refused(tmp_path, body)

    assert (error.status, error.code) == (400, "invalid_request")


@pytest.mark.parametrize(
    "kind", [b"", b"application/json", b"multipart/form-data", b"multipart/mixed; boundary=x", TYPE + b"x" * 100]
)
async def test_the_error_for_another_content_type_says_what_to_send(kind: bytes, tmp_path: Path) -> None:
    error = await refused(tmp_path, form(MODEL, (FILE, b"x")), kind=kind)

    assert error.code == "unsupported_media_type"


async def test_an_oversized_form_is_refused_before_all_of_it_has_arrived(tmp_path: Path) -> None:
    assert (await refused(tmp_path, form(MODEL, (FILE, b"x" * 500)), maximum=300)).code == "request_too_large"
    with BodyBudget(10**9).hold() as held, pytest.raises(GatewayError) as caught:
        await read_upload(receiving(), TYPE, 301, 300, held, tmp_path)
    assert caught.value.code == "request_too_large"


async def test_no_upload_stays_on_disk_or_in_the_memory_budget_however_it_ends(tmp_path: Path) -> None:
    budget = BodyBudget(MAX_IN_MEMORY * 3)
    large = b"x" * MAX_IN_MEMORY * 2
    for chunks, leaves, ends_in in (
        ((form(MODEL, (FILE, large)),), False, None),
        ((form(MODEL, (FILE, large), end=b""),), True, ClientLeft),
        ((form(MODEL, (FILE, large)), b"y" * MAX_IN_MEMORY * 2), False, GatewayError),
    ):
        with budget.hold() as held:
            reading = read_upload(receiving(*chunks, leaves=leaves), TYPE, None, 10**9, held, tmp_path)
            if ends_in is None:
                (await reading).close()
            else:
                with pytest.raises(ends_in):
                    await reading
        assert budget.held_bytes == 0
        assert os.listdir(tmp_path) == []


async def test_a_disk_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    nowhere = tmp_path / "file"
    nowhere.touch()

    assert (await refused(nowhere / "uploads", form(MODEL, (FILE, b"x")))).code == "overloaded"


def test_the_duration_of_audio_is_measured() -> None:
    header = b"RIFF\0\0\0\0WAVEfmt " + b"\0" * 12 + (32_000).to_bytes(4, "little")
    assert estimate_ms(header, 64_000) == 2000
    assert estimate_ms(header[:28] + b"\xff" * 4, 3_840_000) == 10_000
    assert estimate_ms(b"ID3", 16_000) == 2000
    assert estimate_ms(b"", 1) == 1


@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        (
            b'{"usage":{"type":"tokens","input_tokens":31,"output_tokens":12}}',
            Usage(prompt_tokens=31, completion_tokens=12),
        ),
        (b'{"usage":{"type":"duration","seconds":3.5}}', Usage(audio_ms=3500)),
        (b'{"duration":"2.25","usage":null}', Usage(audio_ms=2250)),
        (b'{"duration":true}', Usage(audio_ms=1000)),
        (b'{"duration":-1}', None),
        (b'{"duration":1e300}', None),
        (b'{"text":"x"}', None),
    ],
)
def test_usage_is_read_as_tokens_or_as_time(answer: bytes, usage: Usage | None) -> None:
    reading = read_transcript(answer)

    assert reading is not None
    assert reading.usage == usage


def test_a_response_that_is_no_json_has_no_usage() -> None:
    assert read_transcript(b"1\n00:00:00,000 --> 00:00:03,000\nHello\n") is None
