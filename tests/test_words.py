"""Words that we gave up, because only we used them or they say something else (docs/glossary.md)."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache

import pytest

from recipes import checkout

ROOT = checkout()
ROOMS = (
    *("audit", "base", "benchmarks", "cli", "client", "murmuration_data", "optim", "privacy", "recipes"),
    *("server", "speech", "strategies", "wire"),
)
GIVEN_UP = {
    r"hear(s|d|ing)?|listen(s|ed|ing|ers?)?": "decode, transcribe, recognise, evaluate",
    r"people('s)?": "speakers, population, participants",
    r"roll[ -]calls?|rosters?|attendance|readings": "registration, population index, evaluations",
    r"visit(s|ed|ing)?": "local training, client update",
    r"mail": "replies",
}
# What a word stands for elsewhere. Each is a line's own text, and why it may stay.
EXCEPTIONS = {
    "visits.sqlite": "a file that nodes of earlier releases have",
    '"people"': "a key in files of earlier releases",
    "people: the name of its population": "a field that is saved under this name",
    'people="ward-7"': "the same",
    "final model hear them:": "recorded output of an earlier release (benchmarks/*.md)",
    "were also heard in training": "the same",
    "You will hear from us within a week": "a reader hears from us",
    "models recognise, they do not hear": "the glossary explains the word",
}


def pages() -> Iterator[tuple[str, str]]:
    for file in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")):
        if file.name != "CHANGELOG.md":  # it tells what was said at the time
            yield str(file.relative_to(ROOT)), without_code(file.read_text(encoding="utf-8"))


def without_code(text: str) -> str:
    """A page without the names in backticks, which tests of other pages check."""
    return re.sub(r"`[^`\n]*`", "", text)


@cache
def texts() -> tuple[tuple[str, str], ...]:
    """Strings and comments of the code: docstrings, help, messages."""
    return tuple(
        (f"{file.relative_to(ROOT)}:{token.start[0]}", without_code(token.string))
        for room in ROOMS
        for file in sorted((ROOT / room).rglob("*.py"))
        for token in tokenize.generate_tokens(io.StringIO(file.read_text(encoding="utf-8")).readline)
        if token.type in (tokenize.STRING, tokenize.COMMENT)
    )


def found(pattern: str, text: str) -> list[str]:
    lines = [line for line in text.splitlines() if not any(known in line for known in EXCEPTIONS)]
    return [
        line.strip() for line in lines if re.search(rf"(?<![\w./-])({pattern})(?![\w-])", line, re.IGNORECASE)
    ]


@pytest.mark.parametrize("pattern", GIVEN_UP, ids=lambda pattern: pattern.split("(")[0])
def test_no_page_and_no_text_of_the_code_has_a_word_that_we_gave_up(pattern):
    left = [f"{place}: {line}" for place, text in (*pages(), *texts()) for line in found(pattern, text)]
    assert not left, f"use {GIVEN_UP[pattern]}:\n" + "\n".join(left)


def test_a_word_is_found_where_it_is():
    assert found("visit(s|ed|ing)?", "a speaker's\nVisits of one round") == ["Visits of one round"]
    assert not found("visit(s|ed|ing)?", "max_visits, node-visits and revisit")


def test_no_public_name_has_one():
    given_up = r"(^|_)(heard?|listen\w*|people|roll|roster|attendance|readings?|visits?|mail)(_|$)"
    assert not [f"{file}: {name}" for file, name in public_names() if re.search(given_up, name.lower())]


@pytest.mark.parametrize("name", ["Share", "Place", "Federation", "Heard"])
def test_a_name_that_had_several_meanings_has_one(name):
    defined = {file for file, found in public_names() if found == name and not file.startswith("benchmarks/")}
    assert len(defined) <= 1


def test_a_grid_is_flowers():
    """Ours is quantisation."""
    ours = [(place, text) for place, text in texts() if place.startswith(("privacy/", "speech/", "optim/"))]
    assert not [f"{place}: {line}" for place, text in ours for line in found("grids?", text)]


@cache
def public_names() -> tuple[tuple[str, str], ...]:
    """Classes, functions and constants, each with its file."""
    return tuple(
        (str(file.relative_to(ROOT)), name)
        for room in ROOMS
        for file in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for name in names_of(node)
        if name[0] != "_"
    )


def names_of(node: ast.AST) -> list[str]:
    """What a statement defines; of variables, those that are constants or types by their first letter."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    names = [one.id for one in targets if isinstance(one, ast.Name)]
    return [name for name in names if name[0].isupper()]


def test_every_exception_is_needed():
    everything = "\n".join(text for _, text in (*pages(), *texts()))
    assert not [known for known in EXCEPTIONS if known not in everything]
