"""The page in headless Chromium: charts, numbers, widths, keyboard, and that it asks for nothing."""

import io
import json
import os
from base64 import b64encode
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from cli.main import app
from server.storage.run_folder import RunFolder
from tests.browser import CHROMIUM, WITHOUT, browser
from tests.cli.report.run_folders import (
    TENSORS,
    copied,
    evaluation_file,
    evaluation_parts,
    plant_norms,
    plant_traffic,
)

PACKAGE = find_spec(
    "axe_core_python"
)  # which has a copy; AXE_CORE names another axe.min.js, such as a newer one
AXE = os.environ.get("AXE_CORE") or (f"{Path(PACKAGE.origin).parent}/axe.min.js" if PACKAGE else "")
KINDS = {"lines", "cohort", "heat", "tensors", "speakers"}

pytestmark = pytest.mark.skipif(not CHROMIUM, reason=WITHOUT)


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


def second_of_sound() -> str:
    encoded = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    soundfile.write(encoded, noise, 16_000, format="OGG", subtype="OPUS")
    return b64encode(encoded.getvalue()).decode()


def owners_page(run: Path, folder: Path) -> Path:
    run = copied(run, folder / "runs")
    plant_traffic(RunFolder(run))
    plant_norms(RunFolder(run), TENSORS)
    hostile = json.loads('{"by_speaker": {"<script>alert(1)</script>": {"wer": 0.5, "words": 2}}}')
    (words,) = evaluation_parts()["worst_utterances"]
    spoken = [{**words, "sound": second_of_sound()}]
    evaluation = evaluation_file(run, folder / "evaluation.json", worst_utterances=spoken, **hostile)
    out = folder / "page.html"
    arguments = ["report", str(run), "--for", "owner", "--evaluation", str(evaluation), "-o", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return out


def test_the_page_in_a_browser(run, tab, tmp_path):
    file = owners_page(run, tmp_path)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for width in (360, 1440):
        for scheme in ("light", "dark"):
            tab.size(width)
            tab.scheme(scheme)
            tab.open(file)
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            kinds = tab.evaluate("[...document.querySelectorAll('.plot')].map((one) => one.dataset.drawn)")
            assert set(kinds) == KINDS
            dark = tab.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(251, 250, 247)"
            assert dark == (scheme == "dark")
    circles = tab.evaluate("document.querySelectorAll('.plot')[0].querySelectorAll('circle').length")
    assert circles == 2 * len(lines)  # WER and CER of each round
    cells = "[...document.querySelectorAll('#curves tbody tr')].map((row) => row.children[0].textContent)"
    assert tab.evaluate(cells) == [str(line["round"]) for line in lines]
    plays = (
        "new Promise((end) => { const one = document.querySelector('audio'); one.onerror = () => end(-1); "
    )
    plays += "one.onloadedmetadata = () => end(one.duration); one.load(); })"
    assert tab.evaluate(plays) == pytest.approx(1, abs=0.05)
    assert not tab.errors
    assert {one for one in tab.requests if not one.startswith("data:")} == {file.as_uri()}


def test_lines_of_one_chart_differ_in_colour_or_dashes(run, tab, tmp_path):
    run = copied(run, tmp_path / "runs")
    file = RunFolder(run).metrics
    groups = {f"group {number}": float(number + 1) for number in range(13)}
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps({**line, "group_signal_to_noise": groups}) + "\n" for line in lines))
    out = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["report", str(run), "--for", "owner", "-o", str(out)])
    assert done.exit_code == 0, done.output
    tab.open(out)
    legends = "[...document.querySelectorAll('.plot .legend')].map((legend) => [...legend.querySelectorAll("
    legends += "'line')].map((one) => one.getAttribute('stroke') + one.getAttribute('stroke-dasharray')))"
    found = tab.evaluate(legends)
    assert max(map(len, found)) == len(groups)
    assert all(len(set(looks)) == len(looks) for looks in found)


def test_the_keyboard_reaches_what_can_be_used(run, tab, tmp_path):
    tab.open(owners_page(run, tmp_path))
    tab.press("Tab", 9)
    assert tab.evaluate("document.activeElement.className") == "skip"
    assert tab.evaluate("document.activeElement.getBoundingClientRect().left") >= 0  # it can be seen
    reached = []
    for _ in range(60):
        tab.press("Tab", 9)
        reached.append(tab.evaluate("document.activeElement.tagName"))
    assert {"A", "SUMMARY", "DIV", "PRE", "AUDIO"} <= set(reached)
    outline = "[...document.querySelectorAll('summary')].map((one) => { one.focus(); "
    assert tab.evaluate(outline + "return getComputedStyle(one).outlineStyle; })[0]") == "solid"


@pytest.mark.skipif(not AXE, reason="axe-core-python is not installed (the extra 'dev')")
def test_axe_finds_nothing_serious(run, tab, tmp_path):
    tab.open(owners_page(run, tmp_path))
    tab.evaluate(f"{Path(AXE).read_text()};1")
    found = tab.evaluate("axe.run().then((found) => found.violations.map((one) => [one.id, one.impact]))")
    assert not found
