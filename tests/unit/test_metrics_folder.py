"""What a killed gateway of several workers leaves in the temporary folder is removed by the next start."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from admin_api.cli.metrics_folder import NEW_S, PREFIX, new_metrics_folder

KILLED_WITHIN = """
import os, signal
from admin_api.cli.metrics_folder import new_metrics_folder
with new_metrics_folder() as folder:
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def age(folder: Path) -> None:
    then = folder.stat().st_mtime - 2 * NEW_S
    os.utime(folder, (then, then))


def left_behind(place: Path) -> Path:
    """The folder of a process that was killed."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WITHIN], env=os.environ | {"TMPDIR": str(place)}, capture_output=True, text=True
    )
    folder = Path(done.stdout.strip())
    assert folder.parent == place
    assert folder.is_dir()
    return folder


def ended_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_folder_of_a_killed_parent_is_removed_with_its_workers_files(place: Path) -> None:
    folder = left_behind(place)
    (folder / f"counter_{ended_pid()}.db").touch()
    age(folder)

    with new_metrics_folder() as own:
        assert os.listdir(place) == [Path(own).name]
    assert os.listdir(place) == []


def test_the_folder_of_workers_that_still_drain_stays(place: Path) -> None:
    folder = left_behind(place)
    (folder / f"gauge_livesum_{os.getpid()}.db").touch()
    age(folder)

    with new_metrics_folder():
        assert folder.is_dir()


def test_folders_of_gateways_that_run_or_start_and_of_others_stay(place: Path) -> None:
    fresh, elsewhere = left_behind(place), place / "elsewhere"
    elsewhere.mkdir()
    (place / f"{PREFIX}link").symlink_to(elsewhere)
    age(elsewhere)
    with new_metrics_folder() as running:
        age(Path(running))
        with new_metrics_folder():
            assert Path(running).is_dir()
            assert fresh.is_dir()
            assert elsewhere.is_dir()
