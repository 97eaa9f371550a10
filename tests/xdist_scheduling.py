"""Which tests share a process when they run in several."""

from typing import Final

from xdist.scheduler import LoadScopeScheduling

# LiteLLM takes ten seconds of CPU time to start, and these share one.
WITH_LITELLM: Final = ("tests/end_to_end/", "tests/clients/")
# It starts its own LiteLLM, so it may run in another process.
WITH_OWN_LITELLM: Final = ("tests/end_to_end/test_user_story.py",)


class FilePerProcess(LoadScopeScheduling):
    """All tests of a file run in one process, like `--dist loadfile`; so do all tests with LiteLLM."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "LiteLLM" if file.startswith(WITH_LITELLM) and file not in WITH_OWN_LITELLM else file
