"""The error of prompt estimates compared with a tokenizer: `make estimates`.

Runs in LiteLLM's environment, which has a tokenizer and its vocabulary (cl100k, 100,000 words) on disk. Its counts
are in texts/counted.json, which tests/unit/test_estimate_accuracy.py compares with the estimates.
"""

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import tiktoken

ROOT = Path(__file__).parents[1]
TEXTS = ROOT / "loadtests" / "texts"
sys.path.insert(0, str(ROOT))
from gateway.domain.estimates import estimate_text  # noqa: E402  # not installed there


def main() -> None:
    """Prints the table and writes the counts."""
    litellm = find_spec("litellm")
    if litellm is None or litellm.origin is None:
        raise SystemExit("LiteLLM, whose vocabulary is counted with, is not installed: `make litellm`.")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(litellm.origin).parent / "litellm_core_utils" / "tokenizers")
    encoding = tiktoken.get_encoding("cl100k_base")
    counted = {path.stem: len(encoding.encode(path.read_text())) for path in sorted(TEXTS.glob("*.txt"))}
    (TEXTS / "counted.json").write_text(json.dumps(counted, indent=2) + "\n")
    print("| text | tokens | estimate | off by | bytes / 4 |\n|---|---|---|---|---|")
    errors = []
    for name, tokens in counted.items():
        text = (TEXTS / f"{name}.txt").read_bytes()
        estimate = estimate_text(text)
        errors.append(estimate / tokens - 1)
        print(f"| {name} | {tokens} | {estimate:.0f} | {errors[-1]:+.0%} | {len(text) / 4 / tokens - 1:+.0%} |")
    middle = median(abs(error) for error in errors)
    print(f"From {min(errors):+.0%} to {max(errors):+.0%}, median {middle:.0%} either way, before anything is learned.")


if __name__ == "__main__":
    main()
