"""Instructor, which makes every answer a Pydantic model; by a tool that it demands."""

from typing import Any

import anthropic
import instructor
import openai
import pydantic
from serve import TIMEOUT_S, Seen, Task, refused_by, serve


class City(pydantic.BaseModel):
    """A city."""

    name: str
    population: int


def client(task: Task) -> Any:
    common: Any = {"api_key": task["key"], "max_retries": task["retries"], "timeout": TIMEOUT_S}
    if task["api"] == "messages":
        return instructor.from_anthropic(anthropic.Anthropic(base_url=task["url"], **common))
    return instructor.from_openai(openai.OpenAI(base_url=f"{task['url']}/v1", **common))


def asked(task: Task, **fields: Any) -> Any:
    messages = [{"role": "user", "content": task["prompt"]}]
    common = {"model": task["model"], "messages": messages, "max_tokens": task["max_tokens"], "max_retries": 0}
    return common | {"response_model": City} | fields


def structured(task: Task) -> Seen:
    city, answer = client(task).create_with_completion(**asked(task))
    usage = answer.usage
    prompt = usage.input_tokens if task["api"] == "messages" else usage.prompt_tokens
    completion = usage.output_tokens if task["api"] == "messages" else usage.completion_tokens
    return {"parsed": city.model_dump(), "prompt_tokens": prompt, "completion_tokens": completion}


def stream(task: Task) -> Seen:
    """It shows the model as it grows."""
    grown = list(client(task).create_partial(**asked(task)))
    return {"parsed": grown[-1].model_dump(), "pieces": len(grown)}


def plain(task: Task) -> Seen:
    """Without a model it hands on what the SDK says."""
    answer = client(task).create(**asked(task, response_model=None))
    if task["api"] == "messages":
        text = "".join(block.text for block in answer.content)
        return {
            "text": text,
            "prompt_tokens": answer.usage.input_tokens,
            "completion_tokens": answer.usage.output_tokens,
        }
    return {
        "text": answer.choices[0].message.content,
        "prompt_tokens": answer.usage.prompt_tokens,
        "completion_tokens": answer.usage.completion_tokens,
    }


if __name__ == "__main__":
    serve({"plain": plain, "stream": stream, "structured": structured}, refused_by)
