"""The models it lists. It accepts any name."""

from deploy.embedded.model_server import faults

CHAT = ("demo-chat", "demo-chat-large", "vendor/demo-chat", "demo-unpriced", "split-chat")
# Served with Anthropic's API.
CLAUDE = "demo-claude"
EMBEDDING = "demo-embedding"
COMPLETION = "demo-completion"
# By LiteLLM's mode.
MEDIA = {
    "demo-transcribe": "audio_transcription",
    "demo-transcribe-seconds": "audio_transcription",
    "demo-speech": "audio_speech",
    "demo-image": "image_generation",
    "demo-gpt-image": "image_generation",
    "demo-moderation": "moderation",
    "demo-rerank": "rerank",
}
# The second refuses every session.
REALTIME = ("demo-realtime", "refused-realtime")
FAULTS = tuple(f"fault-{name}" for name in (*faults.REFUSALS, *faults.DURING))
MODELS = (*CHAT, CLAUDE, EMBEDDING, COMPLETION, *MEDIA, *REALTIME, *FAULTS)
