"""What must hold for the built pages: links and anchors lead somewhere, and nothing comes from a network."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser fetches by itself: the sources of these elements, and links with these relations.
WITH_SOURCE = ("audio", "embed", "iframe", "img", "script", "source", "track", "video")
FETCHED = {
    "dns-prefetch",
    "icon",
    "manifest",
    "modulepreload",
    "preconnect",
    "prefetch",
    "preload",
    "stylesheet",
}
IN_STYLES = re.compile(r"""(?:url\(\s*|@import\s+)["']?((?:https?:)?//[^"')\s]+)""")
MERMAID = (
    "mermaid"  # the theme's script fetches its drawing code from a network where a page has such a block
)


class Page(HTMLParser):
    """The anchors of a page, its links, and what a browser fetches to show it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.drawn_by_network = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.drawn_by_network |= MERMAID in given.get("class", "").split()
        if tag in WITH_SOURCE and "src" in given:
            self.fetched.append(given["src"])
        self.fetched += IN_STYLES.findall(given.get("style", ""))
        if tag == "link" and FETCHED & set(given.get("rel", "").split()):
            self.fetched.append(given.get("href", ""))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])


def faults(site: Path) -> list[str]:
    """Each fault of the pages and styles below `site`, in a line that names page and link."""
    pages = {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found, root = [], site.resolve()
    for path, page in pages.items():
        name = path.relative_to(root)
        links = {link: _of_link(link, path, root, pages) for link in page.links}
        found += [f"{name}: link {link}: {wrong}" for link, wrong in links.items() if wrong]
        files = {link: _of_file(link, path, root) for link in page.fetched}
        found += [f"{name}: fetches {link}: {wrong}" for link, wrong in files.items() if wrong]
        found += [
            f"{name}: has a mermaid block, which is drawn by code from a network"
        ] * page.drawn_by_network
    for style in sorted([*site.rglob("*.css"), *site.rglob("*.svg"), *site.rglob("*.html")]):
        fetched = IN_STYLES.findall(style.read_text(encoding="utf-8"))
        found += [f"{style.relative_to(site)}: fetches {link} from a network" for link in fetched]
    return found


def _of_link(link: str, path: Path, root: Path, pages: dict[Path, Page]) -> str:
    """What is wrong with a link of a page; empty for nothing."""
    try:
        parts = urlsplit(link)
    except ValueError as error:
        return str(error)
    if parts.scheme or parts.netloc:
        known = parts.scheme in ("http", "https") and "." in parts.netloc and " " not in link
        return "" if known or parts.scheme in ("mailto", "data") else "is no address"
    target = _file(parts.path, path, root)
    if not target.is_file():
        return "leads to no page"
    if parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
        return "leads to no place of its page"
    return ""


def _of_file(link: str, path: Path, root: Path) -> str:
    """What is wrong with something that a page fetches; empty for nothing."""
    parts = urlsplit(link)
    if parts.scheme == "data":
        return ""
    if parts.scheme or parts.netloc:
        return "it comes from a network"
    return "" if _file(parts.path, path, root).is_file() else "there is no such file"


def _file(link: str, page: Path, root: Path) -> Path:
    """The file that a link of a page names, from the page or, with a slash in front, from the site's root."""
    start = root if link.startswith("/") else page.parent
    target = (start / unquote(link).lstrip("/")).resolve() if link else page
    return target / "index.html" if target.is_dir() else target
