"""What a call asks for, as far as limits and cost depend on it; `ordinary_call` is one that nobody has sent."""

from dataclasses import dataclass
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from gateway.domain.calls import NO_USAGE, Usage
from gateway.domain.paid_tools import PaidTool
from gateway.domain.prices import Price

# The prompt of an ordinary call, in tokens, and the bytes of a text's token.
ORDINARY_PROMPT: Final = 500
BYTES_PER_TOKEN: Final = 4
# An ordinary picture, and the length of an ordinary sound and of an ordinary text to be spoken.
ORDINARY_IMAGE_TOKENS: Final = 1056
ORDINARY_SOUND_MS: Final = 60_000
SOUND_MS_PER_TOKEN: Final = 100
ORDINARY_SPEECH: Final = 500


@dataclass(frozen=True, slots=True)
class Media:
    """A call that is charged by `CallShape.units`, not by tokens, where the answer reports no usage."""

    # What such models are usually priced by; `token_estimate` is for a model that is priced by tokens instead.
    unit: Literal["image", "second", "character"]
    token_estimate: Usage
    # `CallShape.units` are estimates too: the row is an estimate then.
    is_estimate: bool = False


class CallShape(msgspec.Struct, frozen=True, kw_only=True):
    """`prompt_tokens` is the estimate before the model's learned ratio; `maximum` the call's own bound on one choice's
    completion, None where it set none."""

    prompt_tokens: float
    prompt_bytes: int
    maximum: int | None
    choices: int
    # Known from the request: images, characters, queries.
    units: Usage = NO_USAGE
    # None: tokens are charged.
    media: Media | None = None
    # Counts as a request and costs nothing.
    is_free: bool = False
    # What the call asks for; the answer says what it got.
    service_tier: str | None = None
    # The tokens of the stored conversation that it continues, as they were counted.
    stored_tokens: int = 0
    # Tools that the provider may run for a fee.
    paid_tools: tuple[PaidTool, ...] = ()
    # Pictures, sounds and files in the prompt, each of tokens that nobody knows.
    attachments: int = 0
    # What it takes follows from nothing in the request.
    is_unbounded: bool = False

    @property
    def prompt_bound(self) -> int:
        """The most tokens that the prompt can have."""
        return self.prompt_bytes + self.stored_tokens

    def expected_units(self, price: Price | None) -> tuple[Usage, bool]:
        """What is charged where the answer reports nothing, and whether it is an estimate.

        Without an estimate, media of a model that is priced by tokens would pass under every limit of cost, and be
        free for a caller who leaves."""
        if self.media is None:
            return self.units, False
        if price and getattr(price, self.media.unit) is None and (price.input or price.output):
            return self.media.token_estimate, True
        return self.units, self.media.is_estimate


def ordinary_call(mode: str | None, *, prompt_tokens: int | None = None, maximum: int | None = None) -> CallShape:
    """A call of a model of this mode (LiteLLM's word): a text of ORDINARY_PROMPT tokens without a bound on the answer,
    one picture, one minute of sound. Numbers that are given stand for it; no byte is more than a token then."""
    prompt = ORDINARY_PROMPT if prompt_tokens is None else prompt_tokens
    if mode in ("image_generation", "image_edit"):
        images = Usage(images=1)
        estimate = replace(images, prompt_tokens=prompt, completion_tokens=ORDINARY_IMAGE_TOKENS)
        return _media(images, Media("image", estimate))
    if mode == "audio_speech":
        characters = Usage(characters=ORDINARY_SPEECH)
        estimate = replace(characters, prompt_tokens=prompt, completion_tokens=ORDINARY_SPEECH)
        return _media(characters, Media("character", estimate))
    if mode == "audio_transcription":
        sound = Usage(prompt_tokens=ORDINARY_SOUND_MS // SOUND_MS_PER_TOKEN, audio_ms=ORDINARY_SOUND_MS)
        return _media(sound, Media("second", sound, is_estimate=True))
    has_answer = mode not in ("embedding", "rerank", "moderation")
    return CallShape(
        prompt_tokens=prompt,
        prompt_bytes=BYTES_PER_TOKEN * prompt if prompt_tokens is None else prompt,
        maximum=maximum if has_answer else 0,
        choices=1,
        units=Usage(queries=1) if mode == "rerank" else NO_USAGE,
        is_unbounded=mode == "realtime",
    )


def _media(units: Usage, media: Media) -> CallShape:
    return CallShape(prompt_tokens=0.0, prompt_bytes=0, maximum=0, choices=1, units=units, media=media)
