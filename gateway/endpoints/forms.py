"""Forms: their fields, checked as the fields of a JSON body are, and the files that an endpoint takes."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from gateway.domain.errors import GatewayError
from gateway.endpoints.allowed_fields import AllowedFields
from gateway.web.uploads import FormBody, Upload, UploadedFile

_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\[\])?", re.ASCII)


def read_fields(endpoint: str, upload: Upload, allowed: AllowedFields) -> dict[str, str]:
    """The fields that are sent once, by name; `name[]` is a list, and not among them.

    Raises `invalid_request` for a field without a plain name or sent twice; `parameter_not_allowed`."""
    single: dict[str, str] = {}
    for name, value in upload.fields:
        if not _PLAIN_NAME.fullmatch(name):
            message = f"The field '{name[:100]}' has no name that can be passed on."
            raise GatewayError("invalid_request", message, param=name[:100])
        if name.endswith("[]"):
            continue
        if name in single:
            raise GatewayError("invalid_request", f"The field '{name}' was sent twice.", param=name)
        single[name] = value
    allowed.check_names(endpoint, (name.removesuffix("[]") for name, _ in upload.fields))
    if any(name == "model[]" for name, _ in upload.fields):
        raise GatewayError("parameter_not_allowed", "The field 'model[]' may not be sent in a form.", param="model")
    return single


def read_files(upload: Upload, most: Mapping[str, int]) -> list[UploadedFile]:
    """The files, of which there may be `most` by name; `name[]` is another spelling of a name that may come more
    than once. Raises `invalid_request` for any other, for too many and for an empty one; `parameter_not_allowed` for a
    text in place of a file."""
    counts = dict.fromkeys(most, 0)
    for name, _ in upload.fields:
        if (plain := name.removesuffix("[]")) in most:
            raise GatewayError("invalid_request", f"'{plain}' must be a file.", param=plain)
    for file in upload.files:
        plain = file.name.removesuffix("[]") if most.get(file.name.removesuffix("[]"), 0) > 1 else file.name
        if plain not in most:
            raise GatewayError("invalid_request", f"'{file.name}' may not be a file.", param=file.name)
        counts[plain] += 1
        if counts[plain] > most[plain]:
            message = f"Send at most {most[plain]} files as '{plain}'." if most[plain] > 1 else "Send one file."
            raise GatewayError("invalid_request", message, param=plain)
        if not file.size:
            raise GatewayError("invalid_request", "The file is empty.", param=plain)
    return upload.files


def form_body(upload: Upload) -> FormBody:
    """What goes upstream. LiteLLM takes a form's metadata for orders to itself; no model takes any."""
    return FormBody(list(_passed(upload)), upload)


def _passed(upload: Upload) -> Iterator[tuple[str, str]]:
    return ((name, value) for name, value in upload.fields if name.removesuffix("[]") != "metadata")


def refuse_form_stream(fields: Mapping[str, str], what: str) -> None:
    """Raises `parameter_not_allowed`."""
    if fields.get("stream", "false").lower() != "false":
        message = f"{what} are not streamed here; leave 'stream' out."
        raise GatewayError("parameter_not_allowed", message, param="stream")
