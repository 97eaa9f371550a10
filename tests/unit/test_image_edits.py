"""`images/edits`: a form with several files, what is reserved for it, and the form that goes upstream."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_uploads import MODEL, TYPE, form, read, sent

from gateway.domain.errors import GatewayError
from gateway.endpoints.media import TOKENS_PER_IMAGE, parse_image_edit
from gateway.endpoints.requests import Call
from gateway.web.uploads import MAX_IN_MEMORY, Upload

PROMPT = (b'name="prompt"', b"Make it blue")
COUNTS = (b"0", b"129", b"-1", b"2.5", b"", b"9" * 5000)
Part = tuple[bytes, bytes]
opened: list[Upload] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()


def file(name: bytes, data: bytes = b"PNG", kind: bytes = b"image/png") -> Part:
    return b'name="%s"; filename="a.png"\r\nContent-Type: %s' % (name, kind), data


async def parsed(folder: Path, *parts: Part) -> Call:
    opened.append(await read(folder, form(MODEL, *parts)))
    return parse_image_edit(opened[-1])


async def test_d18_images_and_mask_reach_the_model_as_they_were_sent(tmp_path: Path) -> None:
    data = [random.Random(n).randbytes(size) for n, size in enumerate((1, MAX_IN_MEMORY, 3000, 70))]  # no secret
    call = await parsed(tmp_path, file(b"image[]", data[0]), PROMPT, file(b"mask", data[1], b"image/webp"),
                        file(b"image[]", data[2]), (b'name="n"', b"3"), file(b"image[]", data[3]))  # fmt: skip
    assert not isinstance(call.body, bytes)

    first, second = await sent(call.body), await sent(call.body)
    again = await read(tmp_path, first, kind=call.body.content_type.encode())

    assert first == second
    assert len(first) == call.body.size
    assert again.fields == [("model", "whisper"), ("prompt", "Make it blue"), ("n", "3")]
    again.file.seek(0)
    whole = again.file.read()
    assert [whole[one.start : one.start + one.size] for one in again.files] == data
    assert [(one.name, one.media_type) for one in again.files] == [
        ("image[]", "image/png"), ("mask", "image/webp"), ("image[]", "image/png"), ("image[]", "image/png"),
    ]  # fmt: skip
    assert [one.begins_with for one in again.files] == [one[:64] for one in data]
    again.close()


async def test_d18_what_an_edit_may_take_counts_images_in_and_out(tmp_path: Path) -> None:
    call = await parsed(tmp_path, file(b"image"), file(b"mask"), PROMPT, (b'name="n"', b"3"))

    assert call.units.images == 3
    assert call.media is not None
    assert call.media.token_estimate.completion_tokens == 3 * TOKENS_PER_IMAGE
    assert call.media.token_estimate.prompt_tokens >= 2 * TOKENS_PER_IMAGE
    assert (await parsed(tmp_path, file(b"image"), PROMPT)).units.images == 1


@pytest.mark.parametrize(("parts", "param"), [
    ([PROMPT], "image"),
    ([file(b"mask"), PROMPT], "image"),
    ([file(b"image")], "prompt"),
    ([file(b"image"), (b'name="prompt"', b"")], "prompt"),
    ([file(b"image", b""), PROMPT], "image"),
    ([file(b"image"), file(b"image[]"), PROMPT], "image"),
    ([*[file(b"image[]")] * 17, PROMPT], "image"),
    ([file(b"image"), file(b"mask"), file(b"mask"), PROMPT], "mask"),
    ([file(b"image"), file(b"mask[]"), PROMPT], "mask[]"),
    ([file(b"image"), file(b"file"), PROMPT], "file"),
    ([file(b"image"), file(b"prompt")], "prompt"),
    ([file(b"image"), file(b"image[][]"), PROMPT], "image[][]"),
    ([(b'name="image"', b"https://example.com/a.png"), PROMPT], "image"),
    ([(b'name="image[]"', b"data:image/png;base64,AAAA"), PROMPT], "image"),
    ([file(b"image"), (b'name="mask"', b"a"), PROMPT], "mask"),
    *[([file(b"image"), PROMPT, (b'name="n"', count)], "n") for count in COUNTS],
    ([file(b"image"), PROMPT, (b'name="stream"', b"true")], "stream"),
    ([file(b"image"), PROMPT, (b'name="svg"', b'{"model":"other"}')], "svg"),
    ([file(b"image"), PROMPT, (b'name="api_base"', b"http://there")], "api_base"),
    ([file(b"image"), PROMPT, (b'name="model[]"', b"other")], "model"),
    ([file(b"image"), PROMPT, (b'name="model"', b"other")], "model"),
])  # fmt: skip
async def test_d18_an_edit_that_cannot_be_is_refused(parts: list[Part], param: str, tmp_path: Path) -> None:
    with pytest.raises(GatewayError) as refused:
        await parsed(tmp_path, *parts)

    assert (refused.value.status, refused.value.param) == (400, param)


async def test_d18_the_path_s_model_replaces_all_that_a_form_names(tmp_path: Path) -> None:
    opened.append(upload := await read(tmp_path, form(MODEL, MODEL, file(b"image"), PROMPT), kind=TYPE))
    upload.name_model("granted")

    assert parse_image_edit(upload).model == "granted"


async def test_d18_metadata_is_not_sent_on(tmp_path: Path) -> None:
    call = await parsed(tmp_path, file(b"image"), PROMPT, (b'name="metadata"', b'{"tags":["a"]}'))
    assert not isinstance(call.body, bytes)

    assert b"metadata" not in await sent(call.body)
