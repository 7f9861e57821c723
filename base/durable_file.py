"""Files that survive a crash.

Guarantee: when one of these functions returns, what it wrote is on the disk, and so is the file's name.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def open_durably(path: Path, mode: int = 0o644) -> int:
    """Open a file for reading and appending; create it with `mode` if it does not exist, durably.

    Returns:
        The file descriptor.
    """
    make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode)
    sync(path.parent)
    return descriptor


def read_all(descriptor: int) -> bytes:
    """The whole content of the descriptor's file, even if its path names another file by now."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        return file.read()


def append_durably(descriptor: int, data: bytes) -> None:
    """Write all of ``data`` at the end; it is on the disk when this returns."""
    while data:
        data = data[os.write(descriptor, data) :]
    os.fsync(descriptor)


def truncate_durably(descriptor: int, length: int) -> None:
    """Cut the file to ``length`` bytes; it is so on the disk when this returns."""
    os.ftruncate(descriptor, length)
    os.fsync(descriptor)


def replace_durably(path: Path, content: bytes) -> None:
    """Replace the whole file by ``content`` in one step; it is on the disk when this returns."""
    with replacing(path) as fresh:
        fresh.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to. At the end of the block it replaces ``path`` durably.

    If the block raises, ``path`` stays as it is. The file has the mode that the process's umask gives,
    whatever mode the code in the block sets.
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
    """Let the kernel write a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make a folder, and those above it, unless it is there; with this mode, less the process's umask."""
    if not folder.exists():
        make_folder(folder.parent, mode)
        folder.mkdir(exist_ok=True, mode=mode)
        sync(folder.parent)
