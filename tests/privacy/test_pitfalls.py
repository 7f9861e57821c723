"""docs/privacy.md names, for each pitfall, a guard and tests: all of them must exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")
SOURCES = "\n".join(
    file.read_text(encoding="utf-8")
    for room in (
        "audit",
        "base",
        "wire",
        "optim",
        "privacy",
        "strategies",
        "server",
        "client",
        "speech",
        "tests",
    )
    for file in sorted((ROOT / room).glob("**/*.py"))
)
DEFINED = set(re.findall(r"^ *(?:class|def) (\w+)", SOURCES, re.MULTILINE))
PITFALLS = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE.split("## Pitfalls")[1], re.MULTILINE)
ROWS = [row for row in PITFALLS if row[0] != "pitfall" and not row[0].startswith("---")]


@pytest.mark.parametrize(("pitfall", "guards", "tests"), ROWS, ids=[row[0][:40] for row in ROWS])
def test_guard_and_tests_of_a_pitfall_exist(pitfall: str, guards: str, tests: str) -> None:
    for cell in (guards, tests):
        names = re.findall(r"`(\w+)`", cell)
        assert names or cell.strip() == "none", cell
        assert set(names) <= DEFINED, set(names) - DEFINED


def test_pitfalls_are_ranked() -> None:
    ranks = re.findall(r"^\*\*(\w+)\*\*", PAGE.split("## Pitfalls")[1], re.MULTILINE)
    assert ranks == ["Critical", "Theoretical", "Negligible"]
    assert all(name.startswith("test_") for row in ROWS for name in re.findall(r"`(\w+)`", row[2]))


def test_every_defect_of_the_field_is_a_pitfall() -> None:
    named = set(re.findall(r"test_d(\d+)", PAGE))
    assert named == {str(number) for number in range(1, 16)}
    assert len(ROWS) > 20


def test_what_the_text_names_exists_too() -> None:
    text = PAGE.split("## Pitfalls")[0]
    names = {name.partition(".")[0] for name in re.findall(r"`([A-Z]\w+(?:\.\w+)?|\w+_\w+)`", text)}
    assert names <= DEFINED, names - DEFINED
    for owner, attribute in re.findall(r"`([A-Z]\w+)\.(\w+)`", text):
        assert re.search(rf"\b{attribute}\b", SOURCES), f"{owner}.{attribute}"
