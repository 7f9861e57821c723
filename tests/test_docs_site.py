"""docs_site/: pages keep their links, the reference has all of the code, and faults of pages are found."""

from pathlib import Path

import pytest

from cli.main import COMMANDS
from docs_site.checks import faults
from docs_site.reference import commands, configuration, extensions
from docs_site.staging import stage
from recipes.run_config import known_keys


def test_pages_and_what_they_link_to_are_staged_with_links_that_lead_there(tmp_path: Path) -> None:
    docs, out = tmp_path / "docs", tmp_path / "out"
    for name, text in {
        "docs/a.md": "[b](sub/b.md#there) [c](../more/README.md) [d](units)\n```sh\n[x](no.md)\n```\n",
        "docs/sub/b.md": "![p](../../more/p.png) [out](https://example.org) [here](#there)",
        "docs/units/one.service": "unit",
        "more/README.md": "[b](../docs/sub/b.md)",
        "more/p.png": "picture",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    stage(docs, out)
    assert {str(path.relative_to(out)): path.read_text() for path in out.rglob("*.*")} == {
        "a.md": "[b](sub/b.md#there) [c](more/index.md) [d](units/index.md)\n```sh\n[x](no.md)\n```\n",
        "sub/b.md": "![p](../more/p.png) [out](https://example.org) [here](#there)",
        "units/index.md": "# units\n\n- [one.service](one.service)",
        "units/one.service": "unit",
        "more/index.md": "[b](../sub/b.md)",
        "more/p.png": "picture",
    }


def test_a_link_to_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("[b](b.md)")
    with pytest.raises(FileNotFoundError, match=r"a\.md: links to b\.md, which is not there"):
        stage(tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ('<a href="b.html#here">b</a> <a href="#top" id="top">t</a> <a href="https://a.org/x">o</a>', None),
        ('<img src="data:image/png;base64,AAAA"> <a href="/b.html">b</a>', None),
        ('<a href="c.html">c</a>', "a.html: link c.html: leads to no page"),
        ('<a href="b.html#gone">b</a>', "a.html: link b.html#gone: leads to no place of its page"),
        ('<a href="http://no where">x</a>', "a.html: link http://no where: is no address"),
        ('<img src="p.png">', "a.html: fetches p.png: there is no such file"),
        (
            '<script src="https://cdn.org/x.js">',
            "a.html: fetches https://cdn.org/x.js: it comes from a network",
        ),
        ('<link rel="stylesheet" href="//f.org/x">', "a.html: fetches //f.org/x: it comes from a network"),
        ("<style>@import url(https://f.org/x)</style>", "a.html: fetches https://f.org/x from a network"),
        ('<pre class="mermaid">', "a.html: has a mermaid block, which is drawn by code from a network"),
    ],
)
def test_a_fault_of_a_page_is_found(html: str, fault: str | None, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(html)
    (tmp_path / "b.html").write_text('<h1 id="here">b</h1>')
    assert faults(tmp_path) == ([fault] if fault else [])


def test_the_reference_has_every_key_and_every_command() -> None:
    page = configuration()
    assert [key for key in known_keys() if f"| `{key}` |" not in page] == []
    page = commands()
    assert [name for name in COMMANDS if f"## murmur {name}\n" not in page] == []
    assert "### murmur corpus split\n" in page and "| `--share FLOAT RANGE` |" in page


def test_the_reference_has_the_docstrings_of_extension_points() -> None:
    page = extensions()
    assert "### FlatOptimiser\n" in page and "from optim import FlatOptimiser\n\nFlatOptimiser()" in page
    assert "**Guarantee** If each of a vector's `groups`" in page
