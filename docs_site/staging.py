"""The pages of the site in one folder: docs/ at its root, and what it links to under its own name.

A link between two files of the repository is a link between the same two on the site. So pages are written
for the repository, where they are read too, and need no second form.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "build" / "docs-source"
SITE = ROOT / "build" / "docs"

LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)(?=[)\s#])")
FENCED = re.compile(r"^( *)(```|~~~).*?^\1\2 *$", re.MULTILINE | re.DOTALL)


def stage(docs: Path, out: Path, also: Sequence[Path] = ()) -> None:
    """Copy the pages below `docs`, those of `also`, and all that they link to, to `out`; their links follow.

    Raises:
        FileNotFoundError: If a page links to a file that is not in the repository.
    """
    waiting = [*sorted(docs.rglob("*.md")), *also]
    done = set(waiting)
    while waiting:
        path = waiting.pop()
        target = out / place(path, docs)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and path.suffix != ".md":
            shutil.copyfile(path, target)
            continue
        text, linked = relinked(path, docs) if path.is_file() else _listed(path)
        target.write_text(text, encoding="utf-8")
        waiting += sorted(linked - done)
        done |= linked


def place(path: Path, docs: Path) -> Path:
    """Where a file lies on the site; a README is its folder's index, a folder a list of its files."""
    inside = path.relative_to(docs if path.is_relative_to(docs) else docs.parent)
    if path.is_dir():
        return inside / "index.md"
    return inside.with_name("index.md") if inside.name == "README.md" else inside


def relinked(path: Path, docs: Path) -> tuple[str, set[Path]]:
    """A page with its links as the site needs them, and the files that it links to."""
    linked: set[Path] = set()

    def moved(match: re.Match[str]) -> str:
        target = _target(path, match[1])
        linked.add(target)
        return os.path.relpath(place(target, docs), place(path, docs).parent)

    text, parts, end = path.read_text(encoding="utf-8"), [], 0
    for block in FENCED.finditer(text):
        parts += [LINK.sub(moved, text[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*parts, LINK.sub(moved, text[end:])]), linked


def _listed(folder: Path) -> tuple[str, set[Path]]:
    """A page with the files of a folder that has no README."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return "\n".join([f"# {folder.name}", "", *(f"- [{path.name}]({path.name})" for path in files)]), set(
        files
    )


def _target(page: Path, link: str) -> Path:
    """The file or folder of the repository behind a link."""
    target = Path(os.path.normpath(page.parent / link))
    if (target / "README.md").is_file():
        return target / "README.md"
    if not target.exists():
        raise FileNotFoundError(f"{page}: links to {link}, which is not there")
    return target
