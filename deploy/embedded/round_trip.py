"""One call through every component of the demo, its ledger row, and a refusal."""

import json
import time
from typing import Any

import httpx2

from deploy.embedded.demo import MODEL, Demo
from deploy.embedded.processes import NotStarted

PROMPT = "What does a gateway do? [tokens=24]"
ANSWER_PATIENCE_S = 30.0
LEDGER_PATIENCE_S = 15.0


def stream_one(demo: Demo) -> str:
    """Print the response as it arrives, and return it. Raise NotStarted if it fails."""
    print(f"\nAsked {MODEL} through the gateway: {PROMPT}\n> ", end="", flush=True)
    said: list[str] = []
    body = _body(PROMPT) | {"stream": True}
    try:
        with _client(demo, demo.key["key"]) as client, client.stream("POST", "/chat/completions", json=body) as answer:
            if answer.status_code != 200:
                raise NotStarted(f"The gateway answered {answer.status_code}: {answer.read().decode()[:300]}")
            for line in answer.iter_lines():
                for text in _texts(line):
                    said.append(text)
                    print(text, end="", flush=True)
    except httpx2.TransportError as problem:
        raise NotStarted(f"The streamed answer broke off: {problem or type(problem).__name__}.") from problem
    finally:
        print(flush=True)
    if not said:
        raise NotStarted("The gateway streamed an answer without a word in it.")
    return "".join(said)


def usage_row(demo: Demo, key_id: int) -> dict[str, Any]:
    """The ledger's row of the key's first call. It is written after the response, so it may take a moment."""
    deadline = time.monotonic() + LEDGER_PATIENCE_S
    while time.monotonic() < deadline:
        shown = demo.command_line.read("usage", "show", "--key", str(key_id))
        if shown["rows"]:
            row: dict[str, Any] = shown["rows"][0]
            return row
        time.sleep(0.2)
    raise NotStarted(f"No usage row was written within {LEDGER_PATIENCE_S:.0f} s of the call.")


def check_refusal(demo: Demo) -> str:
    """A key of one call a minute: its second call must be a 429 with a retry-after."""
    key = demo.new_key("--rpm", "1")["key"]
    with _client(demo, key) as client:
        first, second = (client.post("/chat/completions", json=_body("Hello [tokens=1]")) for _ in range(2))
    if first.status_code != 200:
        raise NotStarted(f"The first call of a new key was answered {first.status_code}: {first.text[:300]}")
    if second.status_code != 429 or "retry-after" not in second.headers:
        raise NotStarted(
            f"The second call of a key with one a minute was answered {second.status_code}, "
            "where 429 with Retry-After was due."
        )
    return f"429 {second.json()['error'].get('code')}, Retry-After {second.headers['retry-after']} s"


def _client(demo: Demo, key: str) -> httpx2.Client:
    return httpx2.Client(
        base_url=f"{demo.gateway.url}/v1",
        headers={"authorization": f"Bearer {key}"},
        timeout=ANSWER_PATIENCE_S,
        trust_env=False,
    )


def _body(prompt: str) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": prompt}]}


def _texts(line: str) -> list[str]:
    """The words in one line of the stream."""
    if not line.startswith("data: {"):
        return []
    event = json.loads(line.removeprefix("data: "))
    if "error" in event:
        raise NotStarted(f"The stream ended with an error: {event['error'].get('message')}")
    texts = (choice.get("delta", {}).get("content") for choice in event.get("choices", []))
    return [text for text in texts if text]
