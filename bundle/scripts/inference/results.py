# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The folder that results are written to: nothing half-written in it, and nothing lost from it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .. import processes
from ..errors import InputError
from ..io.base import Case

__all__ = ["ResultFolder"]


class ResultFolder:
    """Where results go.

    Results are made in a hidden folder beside their places, on the same file system, and moved there when they are
    whole. A file in the way of a result is replaced only if an earlier run made it for the same case. Any other file is
    the user's, and stays. One run at a time writes into the folder; each of its processes has its own hidden folder.

    Args:
        path: the folder; made when it is opened.

    Raises:
        InputError: when the path is a file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        # The first process has plain names, as a run of one process has.
        self._number = str(processes.rank() or "")
        self._partial = self.path / f".partial{self._number}"
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f'The output folder "{self.path}" is a file: set --output_dir to a folder.')

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Make the folder, keep other runs out of it, and remove what a run that was killed left half-written.

        Raises:
            InputError: when the folder cannot be written to, or another run does so at the moment.
        """
        lock = FileLock(self.path / f".lock{self._number}", timeout=0)
        processes.from_first(lambda: self._begin(lock))
        if not processes.is_first():
            self._acquire(lock)
        try:
            yield
        finally:
            self.discard_partial()
            _end(lock)

    def _begin(self, lock: FileLock) -> None:
        """Take the folder for this run, in its first process."""
        self._acquire(lock)
        try:
            # A process of another run may have outlived the first one of that run.
            for file in self.path.glob(".lock[0-9]*"):
                left = FileLock(file, timeout=0)
                self._acquire(left)
                _end(left)
            for folder in self.path.glob(".partial*"):
                shutil.rmtree(folder)
        except BaseException:
            lock.release()
            raise

    def _acquire(self, lock: FileLock) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise InputError(
                f'Another run writes into "{self.path}": wait for it, or set another --output_dir.'
            ) from None
        except OSError as error:
            raise InputError(f'The output folder "{self.path}" cannot be written to: {error.strerror}.') from error

    def check_writable(self) -> None:
        """Make the folder, and refuse before any work one that cannot be written to.

        Raises:
            InputError: see :meth:`opened`.
        """
        with self.opened():
            pass

    def partial(self, name: str) -> Path:
        """Where to make what shall become the result of that name: an empty folder's entry, without suffix."""
        self._partial.mkdir(exist_ok=True)
        return self._partial / Path(name).name

    def discard_partial(self) -> None:
        """Remove what is half-written."""
        if self._partial.exists():
            shutil.rmtree(self._partial)

    def claim(self, name: str, made: Iterable[Path], own: Collection[str] = ()) -> list[str]:
        """Say where what was made for a case goes.

        Args:
            name: of the case.
            made: files and folders from :meth:`partial`.
            own: what an earlier run made for this case, relative to the folder: it may be replaced.

        Returns:
            Their places, relative to the folder.

        Raises:
            InputError: when something else is in the way.
        """
        outputs = [(Path(name).parent / path.name).as_posix() for path in made]
        for output in outputs:
            if output not in own and os.path.lexists(self.path / output):
                raise InputError(
                    f'"{self.path / output}" is in the way of the result, and was not made for this case: '
                    "move it, or set another --output_dir"
                )
        return outputs

    def settle(self, made: Iterable[Path], outputs: Collection[str], own: Collection[str] = ()) -> None:
        """Move what was made for a case to the places that :meth:`claim` said; nothing else of its own stays."""
        for former in set(own) - set(outputs):
            if (self.path / former).exists():
                os.replace(self.path / former, self.partial(f"{former}.former"))
        for path, output in zip(made, outputs, strict=True):
            place = self.path / output
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.is_dir():
                # A folder cannot be replaced in one step.
                os.replace(place, path.with_name(f"{path.name}.former"))
            os.replace(path, place)

    def sizes(self, outputs: Iterable[str]) -> dict[str, int]:
        """Bytes of each output that is there; of all its files, for a folder."""
        sizes = {}
        for output in outputs:
            place = self.path / output
            if place.is_dir():
                sizes[output] = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
            elif place.exists():
                sizes[output] = place.stat().st_size
        return sizes

    def refuse_originals(self, cases: Sequence[Case]) -> None:
        """Refuse to begin where results would lie among, above or in place of the images that they are made from.

        Raises:
            InputError: naming such an image.
        """
        sources = {
            path for case in cases for file in case.files for path in (Path(os.path.abspath(file)), file.resolve())
        }
        above = {folder for path in sources for folder in path.parents}
        stems = {(path.parent, path.name.split(".")[0].casefold()) for path in sources}
        for case in cases:
            for place in (Path(os.path.abspath(self.path / case.name)), Path(os.path.realpath(self.path / case.name))):
                if place in above or place in sources or (place.parent, place.name.split(".")[0].casefold()) in stems:
                    raise InputError(
                        f'The result of "{case.files[0]}" would take the place of an original: '
                        "set --output_dir to another folder."
                    )


def _end(lock: FileLock) -> None:
    """Remove a lock's file and release it, in this order: another run could take it in between, and a third a new one.

    Windows does not remove a file that is open; there it stays, and does no harm.
    """
    with suppress(PermissionError):
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()
