"""JSON lines: files to which a run appends one object after another."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from recipes import ConfigError


def append_lines(path: Path, *lines: dict[str, Any]) -> None:
    """Append objects, one a line; NaN becomes null, infinity becomes "inf", also in an object within."""
    text = "".join(json.dumps(_plain(values), allow_nan=False) + "\n" for values in lines)
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return all objects of a file; of a file that does not exist, none.

    A last line that is incomplete, of a crash or of a run that writes it now, is none.

    Raises:
        ConfigError: If another line is no JSON object, with the file and the line.
    """
    if not path.is_file():
        return []
    *lines, last = path.read_bytes().split(b"\n")
    found = [_object(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line]
    with suppress(ConfigError):
        found.append(_object(last, str(path)))
    return found


def _object(line: bytes, place: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{place}: is no JSON object ({error}); restore the file from a copy") from None
    if not isinstance(found, dict):
        raise ConfigError(
            f"{place}: is no JSON object ({type(found).__name__}); restore the file from a copy"
        )
    return found


def cut_torn_line(path: Path) -> None:
    """Remove a last line that a crash left incomplete."""
    if path.exists() and not (content := path.read_bytes()).endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, float) and value != value:
        return None
    return str(value) if value in (float("inf"), -float("inf")) else value
