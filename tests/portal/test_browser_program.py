"""Without a Chromium that runs, the tests of the portal fail with one sentence."""

from pathlib import Path

import pytest

from portal.browser import chromium, install


def test_the_one_that_is_named_is_taken_or_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    named = tmp_path / "chromium"
    monkeypatch.setenv(chromium.VARIABLE, str(named))
    with pytest.raises(chromium.NoChromium, match=rf"{named} does not run \(.*No such file"):
        chromium.find()

    named.write_text("#!/bin/sh\necho 'libnss3.so: cannot open shared object file' >&2\nexit 127\n")
    named.chmod(0o755)
    with pytest.raises(chromium.NoChromium, match=rf"{named} does not run \(libnss3.so: cannot open"):
        chromium.find()

    named.write_text("#!/bin/sh\necho 'Chromium 1'\n")
    assert chromium.find().path == named


def test_the_sentence_says_what_was_tried_and_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(chromium.VARIABLE, raising=False)
    monkeypatch.setattr(install, "UNPACKED", tmp_path / "unpacked")
    monkeypatch.setattr(install, "IS_BUILT_FOR_THIS", True)
    monkeypatch.setattr(chromium, "SYSTEM", tmp_path / "system")

    with pytest.raises(chromium.NoChromium) as raised:
        chromium.find()

    sentence = str(raised.value)
    assert sentence.count("\n") == 0
    for part in (f"{tmp_path}/unpacked/chromium", f"{tmp_path}/system", f"{chromium.VARIABLE}=/path/to/chromium"):
        assert part in sentence
