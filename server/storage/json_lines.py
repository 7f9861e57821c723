"""JSON lines: files to which a run appends one object after another."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any


def append_lines(path: Path, *lines: dict[str, Any]) -> None:
    """Append objects, one a line; NaN becomes null, infinity becomes "inf"."""
    plain = ({key: _plain(value) for key, value in values.items()} for values in lines)
    text = "".join(json.dumps(values, allow_nan=False) + "\n" for values in plain)
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return all objects of a file; of a file that does not exist, none.

    A last line that is incomplete, of a crash or of a run that writes it now, is none.
    """
    if not path.is_file():
        return []
    *lines, last = path.read_text(encoding="utf-8").split("\n")
    found = [json.loads(line) for line in lines if line]
    with suppress(ValueError):
        found.append(json.loads(last))
    return found


def cut_torn_line(path: Path) -> None:
    """Remove a last line that a crash left incomplete."""
    if path.exists() and not (content := path.read_bytes()).endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value != value:
        return None
    return str(value) if value in (float("inf"), -float("inf")) else value
