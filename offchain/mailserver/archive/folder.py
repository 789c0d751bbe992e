"""The archive's folder: who made it, who uses it, which days are in it.

waypost-archive        one line, "waypost archive 1": a folder without it is not ours and is left alone
lock                   held by the process that has the archive open
2026-03-01/            one LMDB environment per UTC day of `sent`
.gone-2026-02-01/      a day on its way out; what a crash leaves of it goes at the next start
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from datetime import date, timedelta
from pathlib import Path

from offchain.errors import StorageError

MARKER = "waypost-archive"
FORMAT = "waypost archive 1"
LOCK = "lock"
DATA = "data.mdb"
"""LMDB's file in a day."""

GONE = ".gone-"
_EPOCH = date(1970, 1, 1)
_DAY_NAME = re.compile(r"\d{4}-\d{2}-\d{2}")


class ArchiveFolder:
    """An archive's folder, locked for this process while it is open."""

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        """`readonly`: another process has made and locked it, and reads and writes it."""
        self.path = path
        self._lock = -1
        try:
            if readonly:
                self._check_format()
                return
            path.mkdir(parents=True, exist_ok=True)
            self._claim()
            self._acquire()
            self._check_format()
            self._sweep()
        except OSError as error:
            self.close()
            raise StorageError(f"the archive folder {path} cannot be used: {error}") from error
        except StorageError:
            self.close()
            raise

    def days(self) -> list[int]:
        """The days that are kept, oldest first."""
        names = (entry.name for entry in self.path.iterdir() if entry.is_dir())
        return sorted(day for name in names if (day := _day_of(name)) is not None)

    def changed(self) -> int:
        """Another number after every day that was begun or deleted."""
        return self.path.stat().st_mtime_ns

    def make_day(self, day: int) -> Path:
        """The folder of a day, made if need be, and sure to be found after a power failure."""
        path = self.path / day_name(day)
        if not path.is_dir():
            path.mkdir()
            fsync_folder(self.path)
        return path

    def day_path(self, day: int) -> Path:
        """Where a day is, or would be."""
        return self.path / day_name(day)

    def day_size(self, day: int) -> int:
        """Bytes that the day takes on disk; 0 if it is gone."""
        try:
            return (self.day_path(day) / DATA).stat().st_blocks * 512
        except OSError:
            return 0

    def remove_day(self, day: int) -> None:
        """Forget a day. It is renamed first, so that a crash leaves a whole day or none."""
        gone = self.path / (GONE + day_name(day))
        shutil.rmtree(gone, ignore_errors=True)
        try:
            self.day_path(day).rename(gone)
        except FileNotFoundError:
            return
        fsync_folder(self.path)
        shutil.rmtree(gone, ignore_errors=True)

    def close(self) -> None:
        """Give the folder back."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _claim(self) -> None:
        """Mark an empty folder as ours."""
        marker = self.path / MARKER
        if marker.exists():
            return
        foreign = sorted(entry.name for entry in self.path.iterdir() if entry.name not in (LOCK, MARKER + ".new"))
        if foreign:
            raise StorageError(
                f"{self.path} is not an archive: it holds {foreign[0]!r} and no {MARKER!r}; name an empty folder"
            )
        fresh = marker.with_name(MARKER + ".new")
        with open(fresh, "w", encoding="ascii") as file:
            file.write(FORMAT + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(marker)
        fsync_folder(self.path)

    def _check_format(self) -> None:
        found = (self.path / MARKER).read_bytes()[:64].decode("ascii", "replace").strip()
        if found != FORMAT:
            raise StorageError(f"{self.path} holds {found!r}, expected {FORMAT!r}: another version made this archive")

    def _acquire(self) -> None:
        self._lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageError(f"the archive {self.path} is in use by another process") from None

    def _sweep(self) -> None:
        for entry in self.path.iterdir():
            if entry.name.startswith(GONE):
                shutil.rmtree(entry, ignore_errors=True)


def day_name(day: int) -> str:
    """A day as its folder is called: 2026-03-01."""
    return (_EPOCH + timedelta(days=day)).isoformat()


def fsync_folder(path: Path) -> None:
    """Make the folder's entries survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _day_of(name: str) -> int | None:
    if not _DAY_NAME.fullmatch(name):
        return None
    try:
        return (date.fromisoformat(name) - _EPOCH).days
    except ValueError:
        return None
