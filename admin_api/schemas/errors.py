"""JSON of errors."""

from typing import Any

from pydantic import BaseModel


class ErrorDetail(BaseModel):
    """`code` is a stable word; `details` may name fields, states, what is allowed."""

    code: str
    message: str
    request_id: str
    details: dict[str, Any]


class ErrorView(BaseModel):
    """Every error of this API."""

    error: ErrorDetail
