"""The live page in headless Chromium, while a real run makes its rounds, and when what answers is gone."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, WITHOUT, browser
from tests.cli.report.run_folders import TENSORS, copied, plant_norms, plant_traffic
from tests.cli.report.test_in_browser import AXE
from tests.cli.watch.conftest import live_page, served
from tests.corpora import make_corpus
from tests.server.in_process import federate, recipe

ROUNDS = 2
PLANNED = "document.querySelectorAll('#plan .plot[data-drawn]').length === 4"

pytestmark = pytest.mark.skipif(not CHROMIUM, reason=WITHOUT)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def tab(chromium):
    """A tab in which no page of an earlier test goes on asking."""
    chromium.command("Page.navigate", url="about:blank")
    chromium.wait("location.href === 'about:blank'")
    chromium.errors.clear()
    chromium.requests.clear()
    return chromium


@contextmanager
def going_on(folder):
    """A run in this process whose round n begins when the n-th of the gates that it yields is opened."""
    gates = [threading.Event() for _ in range(ROUNDS + 1)]
    corpus = make_corpus(folder / "corpus", {"train": 5, "test": 3}, utterances=2)
    changes = {"training.rounds": ROUNDS, "run.folder": str(folder / "runs"), "privacy.noise-multiplier": 5.0}
    config = recipe(corpus, **{"training.cohort": 4.9, **changes})
    running = threading.Thread(
        target=lambda: federate(config, saw=lambda number, model: gates[number].wait(120)), daemon=True
    )
    running.start()
    try:
        yield gates[1:], running
    finally:
        for gate in gates:
            gate.set()
        running.join(120)


def wait_for(condition, patience=120):
    """Wait until a condition of this process is met."""
    for _ in range(patience * 50):
        if condition():
            return
        threading.Event().wait(0.02)
    raise TimeoutError


def test_a_run_that_goes_on_while_the_page_is_open(tab, tmp_path):
    with going_on(tmp_path) as (gates, running):
        wait_for(lambda: list(tmp_path.glob("runs/latest/checkpoints/*.safetensors")))
        folder = (tmp_path / "runs" / "latest").resolve()
        with served(live_page(folder)) as server:
            tab.size(1440)
            tab.open(server.url)
            tab.wait(PLANNED)
            tab.evaluate("window.kept = document.querySelector('#details'); 1")
            tab.evaluate("document.querySelector('#plan details').open = true")
            tab.evaluate("document.querySelector('#plan summary').focus({preventScroll: true})")
            tab.evaluate("window.scrollTo({top: 300, behavior: 'instant'})")
            seen = "document.querySelector('#run-1').getBoundingClientRect().top"
            before = tab.evaluate(seen)
            for number, gate in enumerate(gates, start=1):
                gate.set()
                if number < ROUNDS:
                    tab.wait(f"document.title.startsWith('Round {number} of {ROUNDS} has ended.')")
            running.join(120)
            tab.wait(
                f"document.getElementById('said').textContent.includes('All {ROUNDS} rounds have ended.')"
            )
            where = "[window.kept.isConnected, document.querySelector('#plan details').open, "
            where += "document.activeElement === document.querySelector('#plan summary')]"
            assert tab.evaluate(where) == [True, True, True]
            assert tab.evaluate(seen) == before < 300
            lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
            drawn = "[...document.querySelectorAll('.plot')][0].querySelectorAll('circle').length"
            assert tab.evaluate(drawn) == 2 * len(lines)  # WER and CER of each round
            cells = (
                "[...document.querySelectorAll('#curves tbody tr')].map((row) => row.children[0].textContent)"
            )
            assert tab.evaluate(cells) == [str(line["round"]) for line in lines]
            assert not tab.errors
            assert {one for one in tab.requests if not one.startswith("data:")} == {server.url}


@pytest.fixture
def owners(run, tmp_path):
    """The page of a finished run with all that only its owner sees."""
    made = copied(run, tmp_path / "runs")
    page = live_page(made)
    plant_traffic(page._folder)
    plant_norms(page._folder, TENSORS)
    page.look()
    return page


def test_widths_schemes_keyboard_and_axe(owners, tab):
    with served(owners) as server:
        for width in (360, 1440):
            for scheme in ("light", "dark"):
                tab.size(width)
                tab.scheme(scheme)
                tab.open(server.url)
                tab.wait(PLANNED)
                assert tab.evaluate("document.documentElement.scrollWidth") <= width
                if AXE:
                    tab.evaluate(f"{Path(AXE).read_text()};1")
                    found = "axe.run().then((found) => found.violations.map((one) => [one.id, one.impact]))"
                    assert not tab.evaluate(found)
        kinds = tab.evaluate("[...document.querySelectorAll('.plot')].map((one) => one.dataset.drawn)")
        assert set(kinds) == {"lines", "cohort", "heat", "tensors"}
        reached = []
        for _ in range(12):
            tab.press("Tab", 9)
            reached.append(tab.evaluate("document.activeElement.id"))
        assert "pause" in reached
        assert not tab.errors


def test_a_page_that_pauses_asks_for_nothing(run, tab):
    with served(live_page(run)) as server:
        tab.open(server.url)
        tab.wait(PLANNED)
        tab.evaluate("document.getElementById('pause').click()")
        tab.wait("new Promise((done) => setTimeout(done, 100, true))")  # what was under way
        tab.requests.clear()
        tab.wait("new Promise((done) => setTimeout(done, 4500, true))")
        assert not tab.requests
        tab.evaluate("document.getElementById('pause').click()")
        tab.wait("document.getElementById('lost').textContent === ''")
        assert tab.requests


class Impostor(BaseHTTPRequestHandler):
    """What another user of the machine could run at the port when murmur watch has ended."""

    asked: list[str] = []  # noqa: RUF012

    def do_GET(self):
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Proof", "guessed")
        self.end_headers()
        self.wfile.write(b"<body><header><p>send your password</p></header><main></main></body>")

    def log_message(self, *_):
        pass


def test_the_end_is_said_and_who_takes_the_port_over_is_not_believed(run, tab):
    lost = "document.getElementById('lost').textContent"
    with served(live_page(run)) as server:
        tab.open(server.url)
        tab.wait(PLANNED)
    tab.wait(f"{lost}.includes('does not answer')")
    with HTTPServer(server.server_address[:2], Impostor) as impostor:
        threading.Thread(target=impostor.serve_forever, args=(0.05,), daemon=True).start()
        tab.wait(f"{lost}.includes('murmur watch has ended')")
        impostor.shutdown()
    assert "password" not in tab.evaluate("document.body.textContent")
    assert tab.evaluate("document.getElementById('pause').disabled")
