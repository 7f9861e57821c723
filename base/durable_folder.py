"""Folders that are written as a whole.

Guarantee: a path holds the whole folder or nothing of it, also after a crash.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from base.durable_file import sync

FOLDER_MODE, FILE_MODE = 0o755, 0o644


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` to fill. At the end of the block it becomes `path`, durably.

    If the block raises, nothing is left of it.

    Raises:
        OSError: If `path` is a file, or a folder with something in it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        yield fresh
        fresh.chmod(FOLDER_MODE)
        for one in (*fresh.rglob("*"), fresh):
            if one.is_file():
                one.chmod(FILE_MODE)  # safetensors writes files for their owner alone
            sync(one)
        fresh.rename(path)
        sync(path.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
