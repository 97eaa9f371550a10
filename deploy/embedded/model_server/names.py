"""The models it says it has. It answers to any name."""

from deploy.embedded.model_server import faults

CHAT = ("demo-chat", "demo-chat-large", "vendor/demo-chat", "demo-unpriced", "split-chat")
EMBEDDING = "demo-embedding"
COMPLETION = "demo-completion"
FAULTS = tuple(f"fault-{name}" for name in (*faults.REFUSALS, *faults.DURING))
MODELS = (*CHAT, EMBEDDING, COMPLETION, *FAULTS)
