"""Cohere's client: reranking by its first and second API."""

from typing import Any

import cohere
from serve import TIMEOUT_S, Seen, Task, refused_by, serve


def client(task: Task) -> Any:
    kind: Any = cohere.ClientV2 if task["api"] == "rerank_v2" else cohere.Client
    return kind(api_key=task["key"], base_url=task["url"], timeout=TIMEOUT_S, log_warning_experimental_features=False)


def rerank(task: Task) -> Seen:
    answer = client(task).rerank(
        model=task["model"],
        query=task["prompt"],
        documents=task["texts"],
        top_n=2,
        request_options={"max_retries": task["retries"]},
    )
    return {"ranks": [[one.index, one.relevance_score] for one in answer.results]}


def refused(error: Exception) -> Seen | None:
    seen = refused_by(error)
    body: Any = getattr(error, "body", None)
    if seen and isinstance(body, dict) and isinstance(body.get("error"), dict):
        seen |= {"code": body["error"].get("code"), "message": body["error"].get("message")}
    return seen


if __name__ == "__main__":
    serve({"rerank": rerank, "plain": rerank}, refused)
