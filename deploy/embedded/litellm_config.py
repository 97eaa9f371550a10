"""LiteLLM's configuration for demo and tests: our models, all served by the small model server."""

from typing import Any

from deploy.embedded.model_server.names import CLAUDE, FAULTS, MEDIA, REALTIME

PRICED = {"input_cost_per_token": 0.000001, "output_cost_per_token": 0.000002}
# A reserved port, on which nothing listens.
NOBODY = "http://127.0.0.1:1"
# Cache writes cost a quarter more, cache reads a tenth: as Anthropic prices them.
CACHED = {"cache_creation_input_token_cost": 0.00000125, "cache_read_input_token_cost": 0.0000001}
PER_TOKEN = {"input_cost_per_token": 0.000003, "output_cost_per_token": 0.00001}
MEDIA_PRICES: dict[str, dict[str, float]] = {
    "demo-transcribe": PER_TOKEN,
    "demo-transcribe-seconds": {"input_cost_per_second": 0.0001, "output_cost_per_second": 0.0},
    "demo-speech": {"input_cost_per_character": 0.000015},
    "demo-image": {"output_cost_per_image": 0.04},
    "demo-gpt-image": PER_TOKEN,
    "demo-moderation": {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
    "demo-rerank": {"input_cost_per_token": 0.0000002, "output_cost_per_token": 0.0},
}
SIZES = {"max_tokens": 4096, "max_input_tokens": 8192, "max_output_tokens": 4096}


def configuration(model_server_url: str, master_key: str) -> dict[str, Any]:
    """The whole of its config file, which is YAML; JSON is too."""
    chat = {"mode": "chat"} | SIZES
    large = PRICED | {"input_cost_per_token": 0.00001, "output_cost_per_token": 0.00003}
    models = [
        _model("demo-chat", model_server_url, chat | PRICED),
        _model("demo-chat-large", model_server_url, chat | large),
        _model("vendor/demo-chat", model_server_url, chat | PRICED),
        _model(f"vendor/{CLAUDE}", model_server_url, chat | PRICED | CACHED, provider="anthropic"),
        _model("vendor/demo-embedding", model_server_url, {"mode": "embedding"} | _input_only()),
        _model("split-chat", model_server_url, chat | PRICED),
        _model("demo-unpriced", model_server_url, chat),
        _model(CLAUDE, model_server_url, chat | PRICED | CACHED, provider="anthropic"),
        _model("demo-embedding", model_server_url, {"mode": "embedding"} | _input_only()),
        _model(
            "demo-completion",
            model_server_url,
            {"mode": "completion"} | SIZES | PRICED,
            provider="text-completion-openai",
        ),
        *(_media(name, mode, model_server_url) for name, mode in MEDIA.items()),
        *(_model(name, model_server_url, chat | PRICED) for name in FAULTS),
        *(_model(name, model_server_url, {"mode": "realtime"} | SIZES | PRICED) for name in REALTIME),
        _model("dead-realtime", NOBODY, {"mode": "realtime"} | SIZES | PRICED),
        _model("fault-dead", NOBODY, chat | PRICED),
    ]
    return {
        "model_list": models,
        "litellm_settings": {"num_retries": 0, "telemetry": False},
        # Joins the model server's record with the gateway's by x-litellm-call-id.
        "general_settings": {"master_key": master_key, "forward_client_headers_to_llm_api": True},
        # Otherwise one upstream failure makes the next call a 429 by LiteLLM.
        "router_settings": {"disable_cooldowns": True},
    }


def _media(name: str, mode: str, url: str) -> dict[str, Any]:
    # OpenAI itself ranks nothing; vLLM does, in Cohere's form.
    return _model(name, url, {"mode": mode} | MEDIA_PRICES[name], "hosted_vllm" if mode == "rerank" else "openai")


def _input_only() -> dict[str, float]:
    return {"max_input_tokens": 8192, "input_cost_per_token": 0.0000001, "output_cost_per_token": 0}


def _model(name: str, url: str, info: dict[str, Any], provider: str = "openai") -> dict[str, Any]:
    # Anthropic's clients put the version into the path themselves.
    api_base = url if provider == "anthropic" else f"{url}/v1"
    upstream = {"model": f"{provider}/{name}", "api_base": api_base, "api_key": "not-checked"}
    # Its OpenAI client would retry, and one call would be billed three times.
    return {
        "model_name": name,
        "litellm_params": upstream | {"max_retries": 0},
        "model_info": {"id": name.replace("/", "-")} | info,
    }
