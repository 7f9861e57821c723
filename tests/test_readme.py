"""README.md is short, its links and those of docs/commands.md lead somewhere, its picture is complete."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README, COMMANDS = ROOT / "README.md", ROOT / "docs" / "commands.md"


@pytest.mark.parametrize("page", [README, COMMANDS], ids=lambda page: page.name)
def test_every_link_and_picture_is_there(page):
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    assert len(links) > 5
    assert not [one for one in links if "://" not in one and not (page.parent / one).exists()]


def test_the_readme_stays_short():
    assert len(README.read_text(encoding="utf-8").split()) <= 1150
    assert README.stat().st_size <= 7700


def test_the_picture_of_the_live_view_asks_for_nothing():
    picture = (ROOT / "docs" / "images" / "live.svg").read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\"' )]+", picture)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in picture.replace("url(#", "") and "@import" not in picture
