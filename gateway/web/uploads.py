"""Reads multipart/form-data (RFC 7578): fields into memory, files onto disk, so that a large upload costs no memory;
and encodes it again, so that what is forwarded was checked."""

import asyncio
import re
import secrets
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gateway.domain.errors import GatewayError
from gateway.web.bodies import ClientLeft, HeldBody
from gateway.web.responses import Receive

# Files up to this together are kept in memory; a piece of it is what is read and written at once.
MAX_IN_MEMORY: Final = 1024 * 1024
CHUNK_BYTES: Final = 256 * 1024
MAX_PARTS: Final = 64
MAX_FIELD: Final = 64 * 1024
MAX_NAME: Final = 200
MAX_FILE_NAME: Final = 255
BEGINNING: Final = 64
_MEDIA_TYPE: Final = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}", re.ASCII)


@dataclass(slots=True)
class UploadedFile:
    """One file of a form: `size` bytes from `start` of `Upload.file`."""

    # Of the form's field.
    name: str
    file_name: str
    start: int
    media_type: str = "application/octet-stream"
    size: int = 0
    # The first bytes of the file, which identify its format.
    begins_with: bytes = b""


@dataclass(slots=True)
class Upload:
    """A form as it was sent: its fields and its files, both in order. `file` holds what is in all files, one after
    another; `close()` removes it."""

    file: "tempfile.SpooledTemporaryFile[bytes]"
    fields: list[tuple[str, str]] = field(default_factory=list)
    files: list[UploadedFile] = field(default_factory=list)

    def name_model(self, model: str) -> None:
        """The path's model, in place of the form's."""
        self.fields = [*((name, value) for name, value in self.fields if name != "model"), ("model", model)]

    def close(self) -> None:
        """It has no name on the disk: closing is removing."""
        self.file.close()


async def read_upload(
    receive: Receive, content_type: bytes, declared: int | None, max_bytes: int, held: HeldBody, folder: Path
) -> Upload:
    """The whole form. The caller closes it, and checks the names of its fields and files.

    Raises GatewayError `unsupported_media_type`, `request_too_large`, `invalid_request`, `overloaded`; ClientLeft."""
    too_large = GatewayError("request_too_large", f"The upload is larger than {max_bytes} bytes.")
    if declared is not None and declared > max_bytes:
        raise too_large
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 1 <= len(boundary) <= 70:
        message = "Send multipart/form-data with a boundary: fields, and files beside them."
        raise GatewayError("unsupported_media_type", message)
    upload = Upload(_open(folder))
    try:
        await _receive(receive, _Parts(upload, boundary), max_bytes, held, too_large)
    except BaseException:
        upload.close()
        raise
    return upload


def _open(folder: Path) -> "tempfile.SpooledTemporaryFile[bytes]":
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.SpooledTemporaryFile(MAX_IN_MEMORY, dir=str(folder))
    except OSError as exc:
        raise _not_stored() from exc


def _not_stored() -> GatewayError:
    message = "The gateway cannot store uploads at this moment. Try again."
    return GatewayError("overloaded", message, headers={"retry-after": "5"})


async def _receive(receive: Receive, parts: "_Parts", max_bytes: int, held: HeldBody, too_large: GatewayError) -> None:
    # The loop of bodies.read_body: one generator for both would cost each request another coroutine.
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        chunk: bytes = message.get("body", b"")
        if chunk:
            size += len(chunk)
            if size > max_bytes:
                raise too_large
            held.take(len(chunk))
            await parts.feed(chunk)
        if not message.get("more_body", False):
            await parts.finish()
            return


class _Parts:
    """One form while it arrives."""

    def __init__(self, upload: Upload, boundary: bytes) -> None:
        self._upload = upload
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._read_header_name,
                "on_header_value": self._read_header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._read_data,
                "on_part_end": self._end,
                "on_end": self._end_all,
            },
            max_header_count=8,
            max_header_size=4096,
        )
        self._parts = 0
        self._is_whole = False
        self._pending: list[bytes] = []
        self._pending_size = 0
        # The file that is being read.
        self._file: UploadedFile | None = None

    async def feed(self, chunk: bytes) -> None:
        """Raises `invalid_request`, `overloaded`."""
        if self._is_whole:
            return  # an epilogue says nothing
        try:
            self._parser.write(chunk)
        except FormParserError as exc:
            raise _broken(str(exc)) from None
        if self._pending_size >= CHUNK_BYTES:
            await self._write()

    async def finish(self) -> None:
        """Raises `invalid_request` where the end is missing, `overloaded`."""
        if not self._is_whole:
            raise _broken("its end is missing")
        await self._write()

    async def _write(self) -> None:
        data, self._pending, self._pending_size = b"".join(self._pending), [], 0
        try:
            # A disk may be slow; others must not wait for it.
            await asyncio.to_thread(self._upload.file.write, data)
        except OSError as exc:
            raise _not_stored() from exc

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise GatewayError("invalid_request", f"The form has more than {MAX_PARTS} parts.")
        self._headers: dict[bytes, bytes] = {}
        self._header_name = self._header_value = b""
        self._value = b""
        self._name = ""
        self._file = None

    def _read_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _read_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        name = self._header_name.lower()
        if name in self._headers:
            raise _broken("a part has a header twice")
        self._headers[name] = self._header_value
        self._header_name = self._header_value = b""

    def _end_headers(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise _broken("a part has no name")
        self._name = _text(options[b"name"], "A field's name", MAX_NAME)
        file_name = options.get(b"filename")
        if file_name is None:
            return
        files = self._upload.files
        start = files[-1].start + files[-1].size if files else 0
        self._file = UploadedFile(self._name, _text(file_name, "The file's name", MAX_FILE_NAME) or "file", start)
        reported = self._headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip()
        if _MEDIA_TYPE.fullmatch(reported):
            self._file.media_type = reported
        files.append(self._file)

    def _read_data(self, data: bytes, start: int, end: int) -> None:
        if (file := self._file) is not None:
            piece = data[start:end]
            if len(file.begins_with) < BEGINNING:
                file.begins_with = (file.begins_with + piece)[:BEGINNING]
            file.size += len(piece)
            self._pending.append(piece)
            self._pending_size += len(piece)
            return
        self._value += data[start:end]
        if len(self._value) > MAX_FIELD:
            message = f"The field '{self._name}' is larger than {MAX_FIELD} bytes."
            raise GatewayError("invalid_request", message, param=self._name)

    def _end(self) -> None:
        if self._file is None:
            self._upload.fields.append((self._name, _text(self._value, f"The field '{self._name}'", MAX_FIELD)))

    def _end_all(self) -> None:
        self._is_whole = True


def _broken(why: str) -> GatewayError:
    return GatewayError("invalid_request", f"The form cannot be read: {why}.")


def _text(value: bytes, what: str, longest: int) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise GatewayError("invalid_request", f"{what} is not UTF-8.") from None
    if len(text) > longest:
        raise GatewayError("invalid_request", f"{what} is longer than {longest} characters.")
    return text


class FormBody:
    """A form to be sent: fields, then the upload's files, with a boundary of our own."""

    def __init__(self, fields: list[tuple[str, str]], upload: Upload) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._upload = upload
        begin = f"--{boundary}\r\ncontent-disposition: form-data; name="
        self._fields = "".join(f'{begin}"{_quoted(name)}"\r\n\r\n{value}\r\n' for name, value in fields).encode()
        self._heads = [
            f'{begin}"{_quoted(file.name)}"; filename="{_quoted(file.file_name)}"\r\n'
            f"content-type: {file.media_type}\r\n\r\n".encode()
            for file in upload.files
        ]
        self._end = f"--{boundary}--\r\n".encode()
        of_files = sum(len(head) + file.size + 2 for head, file in zip(self._heads, upload.files, strict=True))
        self.size = len(self._fields) + of_files + len(self._end)

    async def chunks(self) -> AsyncIterator[bytes | memoryview]:
        """From the beginning, as often as it is asked for."""
        yield self._fields
        for head, file in zip(self._heads, self._upload.files, strict=True):
            yield head
            async for piece in self._pieces(file):
                yield piece
            yield b"\r\n"
        yield self._end

    async def _pieces(self, file: UploadedFile) -> AsyncIterator[bytes]:
        stored, left = self._upload.file, file.size
        await asyncio.to_thread(stored.seek, file.start)
        while left > 0:
            piece = await asyncio.to_thread(stored.read, min(CHUNK_BYTES, left))
            left -= len(piece)
            yield piece


def _quoted(name: str) -> str:
    """As browsers do (https://html.spec.whatwg.org/#multipart-form-data); control characters could end the header."""
    plain = "".join(c for c in name if c.isprintable())
    return plain.replace('"', "%22").replace("\\", "_").replace("/", "_")
