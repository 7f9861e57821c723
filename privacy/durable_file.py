"""A file to append to durably, by one process at a time: the few system calls a ledger rests on."""

import fcntl
import os
from pathlib import Path

from privacy.errors import LedgerInUse


def open_durably(path: Path, mode: int = 0o644) -> int:
    """Open for appending; what was just created (with `mode`) is in its folder for good when this returns."""
    _make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode)
    _sync_folder(path.parent)
    return descriptor


def read_all(descriptor: int) -> bytes:
    """The whole file behind the descriptor that is locked, whatever the path names by now."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        return file.read()


def lock(descriptor: int, path: Path) -> None:
    """Keep others out until the descriptor is closed; the end of the process, however sudden, closes it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LedgerInUse(f"Another run is writing to the ledger {path}; wait until it ends.") from error


def require_named(descriptor: int, path: Path) -> None:
    """Raise `OSError` unless the path still names the file behind the descriptor."""
    if not path.exists() or not os.path.samestat(os.fstat(descriptor), path.stat()):
        raise OSError(
            f"The ledger {path} was moved, replaced or deleted while it was in use: what was written since "
            f"then is in no ledger that a run would find. Bring the file back, then resume the run."
        )


def append_durably(descriptor: int, data: bytes) -> None:
    """Write all of ``data``; it is on disk when this returns."""
    while data:
        data = data[os.write(descriptor, data) :]
    os.fsync(descriptor)


def replace_durably(path: Path, content: bytes) -> None:
    """Let the whole file be ``content``, in one step; it is on disk when this returns."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        _sync_folder(path.parent)
    finally:
        fresh.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
