# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from tests.several_processes import in_processes

from scripts import processes
from scripts.errors import InputError
from scripts.training_folders import TrainingFolders


def claimed(output: Path, **words: Any) -> TrainingFolders:
    folders = TrainingFolders([output, output / "models"], output / "checkpoint.pt", [output / "models" / "model.pt"])
    folders.claim(**words)
    return folders


@pytest.mark.parametrize("name", ["checkpoint.pt", "models/model.pt"])
def test_results_of_another_training_are_not_replaced_without_a_word(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"hours of training")
    with pytest.raises(InputError, match="--overwrite True") as caught:
        claimed(tmp_path)
    assert str(file) in str(caught.value)
    claimed(tmp_path, overwrite=True).release()
    assert file.read_bytes() == b"hours of training"  # until there is something better


def test_resume_needs_a_checkpoint_and_is_no_overwriting(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="to resume from"):
        claimed(tmp_path, resume=True)
    (tmp_path / "checkpoint.pt").touch()
    claimed(tmp_path, resume=True).release()
    with pytest.raises(InputError, match="one goes on"):
        claimed(tmp_path, resume=True, overwrite=True)


def test_auto_resumes_where_there_is_a_checkpoint_and_replaces_nothing(tmp_path: Path) -> None:
    folders = claimed(tmp_path, resume="auto")
    assert folders.resumes is False
    folders.release()
    (tmp_path / "checkpoint.pt").touch()
    folders = claimed(tmp_path, resume="auto")
    assert folders.resumes is True
    folders.release()
    (tmp_path / "checkpoint.pt").rename(tmp_path / "models" / "model.pt")
    with pytest.raises(InputError, match="results of another training"):
        claimed(tmp_path, resume="auto")


def test_two_trainings_do_not_share_a_folder(tmp_path: Path) -> None:
    holder = (
        "import sys; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire();"
        "print('locked', flush=True); sys.stdin.read()"
    )
    (tmp_path / "models").mkdir()
    arguments = [sys.executable, "-c", holder, str(tmp_path / "models" / ".training.lock")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(InputError, match="Another training is writing"):
            claimed(tmp_path, overwrite=True)
        other.kill()  # its lock goes with it
        other.wait()
        claimed(tmp_path, overwrite=True).release()


def test_a_training_gives_its_folders_back(tmp_path: Path) -> None:
    first = claimed(tmp_path)
    claimed(tmp_path)  # the next one of this process
    first.release()
    with FileLock(tmp_path / ".training.lock", timeout=0):
        pass


def test_what_a_killed_training_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint.pt.123.unfinished").write_bytes(b"the beginning")
    (tmp_path / "checkpoint.pt").touch()
    claimed(tmp_path, resume=True).release()
    assert not (tmp_path / ".checkpoint.pt.123.unfinished").exists()
    assert (tmp_path / "checkpoint.pt").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(InputError, match="models.* cannot be written"):
        claimed(tmp_path)


def test_the_first_of_several_processes_claims_for_all(tmp_path: Path) -> None:
    def claim(**words: bool) -> str:
        try:
            folders = claimed(tmp_path, **words)
        except InputError as error:
            return str(error)
        processes.gathered(None)  # or the first could be done before the second has tried
        folders.release()
        return "claimed"

    assert in_processes(claim) == ["claimed"] * 2
    first, second = in_processes(lambda: claim(resume=True))
    assert first == second
    assert "to resume from" in first
