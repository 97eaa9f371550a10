"""Which tests run in one process, where there are several."""

from typing import Final

from xdist.scheduler import LoadScopeScheduling

# LiteLLM takes ten seconds of a processor to start, and these share one.
ON_LITELLM: Final = ("tests/end_to_end/", "tests/sdk/")
# It starts a LiteLLM of its own, and so may be elsewhere.
ON_THEIR_OWN: Final = ("tests/end_to_end/test_user_story.py",)


class InOneProcess(LoadScopeScheduling):
    """The tests of a file, as by `--dist loadfile`; and all tests on LiteLLM."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "LiteLLM" if file.startswith(ON_LITELLM) and file not in ON_THEIR_OWN else file
