"""The run of the tests of `murmur report`, and a live page of a folder that is served while a test lasts."""

import threading
from contextlib import contextmanager

import pytest

from cli.report.page_view import Asked
from cli.watch.live_page import LivePage
from cli.watch.web_server import WebServer
from tests.cli.report.conftest import _computed_once, known_epsilon, run  # noqa: F401

TOKEN = "the-token"


def live_page(folder, reader="owner"):
    """The page of a folder, with all that it says on the terminal in its list `said`."""
    said = []
    asked = Asked(audience=reader, corpus_may_be_published=False, command="murmur watch")
    page = LivePage(folder, asked, said.append)
    page.said = said
    page.begin()
    return page


@contextmanager
def served(page, host="127.0.0.1"):
    """A server of the page, which follows its folder."""
    with WebServer(host, 0, TOKEN, page) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        threading.Thread(target=page.follow, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


@pytest.fixture
def planned():
    """Waits until the plan of a page is computed, and returns the page's text."""

    def text(page):
        for thread in threading.enumerate():
            if thread.name == "plan":
                thread.join(60)
        page.look()
        return page.answer().content.decode()

    return text
