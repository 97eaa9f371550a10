"""What the model servers of the bench answer: one JSON body, or a stream whose events say when they were written."""

import json
import re
from typing import Final

MODEL: Final = "demo-chat"
PATH: Final = "/v1/chat/completions"
CREATED: Final = 1_700_000_000
USAGE: Final = {"prompt_tokens": 180, "completion_tokens": 9, "total_tokens": 189}
# A whole answer of OpenAI's shape with its usage.
ANSWER: Final = json.dumps(
    {
        "id": "chatcmpl-0123456789abcdefghijklmnopqr",
        "object": "chat.completion",
        "created": CREATED,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Nine tokens are enough for an answer."},
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    }
)
# For `litemaas models sync`.
MODEL_INFO: Final = json.dumps(
    {
        "data": [
            {
                "model_name": MODEL,
                "model_info": {
                    "mode": "chat",
                    "litellm_provider": "openai",
                    "max_output_tokens": 4096,
                    "input_cost_per_token": 0.000001,
                    "output_cost_per_token": 0.000002,
                },
            }
        ]
    }
)
MODEL_INFO_PATH: Final = "/model/info"
HEALTH_PATH: Final = "/health/liveliness"

# What a request asks of the paced server, within its prompt: LiteLLM and others parse the body and write it again.
PACE: Final = re.compile(rb"\[events=(\d+)\] \[a_second=(\d+)\]")
WANTS_USAGE: Final = re.compile(rb'"include_usage"\s*:\s*true')
# In the content of an event: nanoseconds of the system's monotonic clock, which all processes share.
STAMP: Final = re.compile(rb"\bat (\d{9,20})\.")
_CHUNK: Final = {"id": "chatcmpl-0123456789abcdefghijklmnopqr", "object": "chat.completion.chunk", "created": CREATED}


def _event(fields: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(_CHUNK | {"model": MODEL} | fields).encode() + b"\n\n"


def _delta(delta: dict[str, str], finish_reason: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


FIRST: Final = _event(_delta({"role": "assistant", "content": ""}))
BEFORE_STAMP, _, AFTER_STAMP = _event(_delta({"content": "at @."})).partition(b"@")
LAST: Final = _event(_delta({}, "stop"))
USAGE_EVENT: Final = _event({"choices": [], "usage": USAGE})
DONE: Final = b"data: [DONE]\n\n"


def stamped_event(now_ns: int) -> bytes:
    """An event that says when it was written."""
    return b"%b%d%b" % (BEFORE_STAMP, now_ns, AFTER_STAMP)
