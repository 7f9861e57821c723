"""Files that survive a crash: what a call wrote is on the disk, with its name, when the call returns."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def open_durably(path: Path, mode: int = 0o644) -> int:
    """Open for appending; what was just created (with `mode`) is in its folder for good when this returns."""
    _make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode)
    sync(path.parent)
    return descriptor


def read_all(descriptor: int) -> bytes:
    """The whole file behind the descriptor that is locked, whatever the path names by now."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        return file.read()


def append_durably(descriptor: int, data: bytes) -> None:
    """Write all of ``data``; it is on disk when this returns."""
    while data:
        data = data[os.write(descriptor, data) :]
    os.fsync(descriptor)


def replace_durably(path: Path, content: bytes) -> None:
    """Let the whole file be ``content``, in one step; it is on disk when this returns."""
    with replacing(path) as fresh:
        fresh.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, which takes its place in one step, on the disk too, if all goes well.

    The file has the mode that the process's umask gives, whatever the code that writes it wants.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        fresh.touch()
        mode = fresh.stat().st_mode
        yield fresh
        fresh.chmod(mode)
        sync(fresh)
        fresh.replace(path)
        sync(path.parent)
    finally:
        fresh.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have the kernel write a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)
