# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The folders that a training writes to: they belong to one training at a time, and its results are not lost."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from . import processes
from .errors import InputError, require
from .files import remove_unfinished

__all__ = ["TrainingFolders"]

_LOCK = ".training.lock"


class TrainingFolders:
    """Claim the folders of a training, before anything is written.

    Each folder has a lock, a hidden file, which the system gives back when the process ends, however it ends. Trainings
    one after the other in one process may use the same folders.

    Args:
        folders: that the training writes to. They are made where they are missing.
        checkpoint: the file from which the training is resumed; None where it cannot be.
        results: the other files that the training replaces.

    Attributes:
        resumes: whether the training that claimed them goes on from the checkpoint.
    """

    def __init__(
        self, folders: Sequence[str | Path], checkpoint: str | Path | None, results: Sequence[str | Path]
    ) -> None:
        self.folders = list(dict.fromkeys(Path(folder).expanduser().absolute() for folder in folders))
        self.checkpoint = None if checkpoint is None else Path(checkpoint).expanduser().absolute()
        self.results = [Path(file).expanduser().absolute() for file in results]
        self.resumes = False
        self._locks: list[FileLock] = []

    def claim(self, resume: bool | Literal["auto"] = False, overwrite: bool = False) -> None:
        """Lock the folders until :meth:`release`; of several processes the first does it for all.

        Args:
            resume: whether the training goes on from the checkpoint; ``"auto"``: where there is one.
            overwrite: whether results of another training may be replaced.

        Raises:
            InputError: when a folder holds results that are not to be replaced, cannot be written or is in use, or
                there is nothing to resume from.
        """
        self.resumes = processes.from_first(lambda: self._claim(resume, overwrite))

    def _claim(self, resume: bool | Literal["auto"], overwrite: bool) -> bool:
        require(not (resume and overwrite), "Give --resume or --overwrite True: one goes on, the other begins anew.")
        resumes = resume is True or (resume == "auto" and self.checkpoint is not None and self.checkpoint.is_file())
        if resumes:
            require(self.checkpoint is not None, "This training cannot be resumed: leave --resume out.")
            require(
                self.checkpoint is not None and self.checkpoint.is_file(),
                f'There is no checkpoint "{self.checkpoint}" to resume from: leave --resume out, or mend --output_dir.',
            )
        elif not overwrite:
            files = [*([] if self.checkpoint is None else [self.checkpoint]), *self.results]
            earlier = [str(file) for file in files if file.exists()]
            resumed = "" if self.checkpoint is None else "go on with it (--resume True), "
            require(
                not earlier,
                f"There are results of another training ({', '.join(earlier)}): {resumed}choose another --output_dir "
                "or --model_dir, or replace them (--overwrite True).",
            )
        for folder in self.folders:
            self._lock(folder)
            remove_unfinished(folder)
        return resumes

    def release(self) -> None:
        """Give the folders back."""
        for lock in self._locks:
            lock.release(force=True)
        self._locks.clear()

    def _lock(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
            # One object for a file and a thread, so that a later training of this process has the lock already.
            lock = FileLock(folder / _LOCK, timeout=0, is_singleton=True)
            lock.acquire()
        except Timeout:
            raise InputError(
                f'Another training is writing to "{folder}": wait for its end, or choose another --output_dir.'
            ) from None
        except OSError as error:
            raise InputError(
                f'The folder "{folder}" cannot be written ({error.strerror or error}): choose another --output_dir or '
                "--model_dir."
            ) from error
        self._locks.append(lock)
