"""`murmur report` of a long run: 2,000 rounds of 300 tensors on 8 nodes, for its owner.

Measured are the bytes of the page, the processor time to write it, reading and accountants included, and the
time until headless Chromium has loaded it and drawn all charts. Goals: under 5 MB, and open within two
seconds.
"""

from __future__ import annotations

import json
import math
import os
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks.report import Ratio, conditions, table, write
from cli.composing import default_config
from cli.report.page_view import Asked, page
from cli.report.run_facts import RunFacts
from privacy import PrivacyPlan
from recipes import RunConfig
from server.storage.run_folder import RunFolder
from tests.browser import CHROMIUM, WITHOUT, browser

ROUNDS, TENSORS, NODES = 2000, 300, 8
TRIES = 5
NOTES = """The folder is made up: its loss, error rates and norms are random numbers of a plausible course.
Reading not_private.jsonl, {megabytes:.0f} MB here, takes most of the writing; a public page does not open
it. Opening is wall-clock time on the two cores of the machine, best and worst of {tries}, at a load of
{load:.0f} when it was measured."""


def run_folder(path: Path) -> RunFacts:
    """The facts of a long run, and beside them the files that the owner's page reads."""
    folder = RunFolder(path)
    draw = random.Random(1)
    sizes = {f"encoder.layers.{n // 12}.part{n % 12}.weight": 64 + 97 * n for n in range(TENSORS)}
    save_file({name: torch.zeros(size) for name, size in sizes.items()}, folder.model)
    plan = PrivacyPlan(population=34_753, cohort=1024, rounds=ROUNDS, noise_multiplier=1.024, delta=1e-9)
    _write_files(folder, list(sizes.items()), draw)
    lines = [_line(number, draw) for number in range(ROUNDS + 1)]
    return RunFacts(
        folder=folder,
        run="0" * 32,
        config=RunConfig.from_flat({**default_config(), "run.raw-metrics": True, "privacy.clip-rule": "dim"}),
        plan=plan,
        rounds_done=ROUNDS,
        days=(),
        release="",
        own=(replace(plan.release, count=ROUNDS),),
        lineage=(),
        all_runs=(replace(plan.release, count=ROUNDS),),
        uncounted=(),
        metrics=tuple(lines),
        evaluation=None,
    )


def _write_files(folder: RunFolder, sizes: Sequence[tuple[str, int]], draw: random.Random) -> None:
    """traffic.jsonl and not_private.jsonl."""
    nodes = range(1, NODES + 1)
    asked = {"nodes_asked": NODES, "nodes_answered": NODES, "dropped": [], "seconds": 60.0}
    with folder.traffic.open("w") as traffic, folder.not_private.open("w") as raw:
        raw.write(json.dumps({"not_private": "", "tensors": [name for name, _ in sizes]}) + "\n")
        for number in range(1, ROUNDS + 1):
            sums = {"bytes_down": 1_000_000 * NODES, "bytes_up": 500_000 * NODES}
            of_round = {"round": number, "drawn": round(draw.gauss(1024, 32)), **asked, **sums}
            traffic.write(json.dumps(of_round) + "\n")
            for node in nodes:
                about = {"round": number, "node": node}
                traffic.write(json.dumps({**about, "bytes_down": 1_000_000, "bytes_up": 500_000}) + "\n")
                decay = 0.01 * math.exp(-number / 900)
                norms = [decay * size**0.3 * draw.uniform(0.5, 2) for _, size in sizes]
                raw.write(json.dumps({**about, "speakers": 128, "update_norms": norms}) + "\n")


def _line(number: int, draw: random.Random) -> dict[str, float]:
    wer = 0.2 + 0.6 * math.exp(-number / 400) + draw.gauss(0, 0.003)
    rates = {"loss": 30 * wer, "wer": wer, "cer": wer / 3, "train_loss_noised": 9 * wer}
    constants = {"learning_rate": 0.006, "clip_bound": 0.2, "clipped_share_noised": 0.9}
    spent = {"epsilon_rdp_this_run": 0.2 * number**0.5, "epsilon_rdp_extrapolated": 0.05 * number**0.5}
    return {"round": number, **rates, **constants, **spent}


def opened(file: Path, profile: Path) -> list[float]:
    """Seconds until the page is loaded and drawn, of each try but the first."""
    seconds = []
    with browser(profile) as tab:
        tab.size(1440)
        for _ in range(TRIES + 1):
            began = time.perf_counter()
            tab.open(file)
            seconds.append(time.perf_counter() - began)
    return seconds[1:]


def main() -> None:
    """Measure and write the page."""
    if not CHROMIUM:
        raise SystemExit(WITHOUT)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        facts = run_folder(folder)
        asked = Asked(audience="owner", corpus_may_be_published=False, command="murmur report --for owner")
        began = time.process_time()
        text = page([facts], {}, asked)
        writing = time.process_time() - began
        (folder / "page.html").write_text(text, encoding="utf-8")
        megabytes = facts.folder.not_private.stat().st_size / 1e6
        tries = sorted(opened(folder / "page.html", folder / "profile"))
    ratios = [
        Ratio(name="page, MB", value=len(text.encode()) / 1e6, at_most=5),
        Ratio(name="opening, s", value=tries[0], at_most=2),
        Ratio(name="writing, processor s", value=writing),
    ]
    rows: list[tuple[str, ...]] = [("of a report of 2,000 rounds and 300 tensors", "measured", "goal", "")]
    rows += [(one.name, f"{one.value:.3g}", one.goal, one.verdict) for one in ratios]
    rows += [("opening, the longest of all tries, s", f"{tries[-1]:.3g}", "", "")]
    notes = NOTES.format(megabytes=megabytes, tries=TRIES, load=os.getloadavg()[0])
    parts = ["# Size of a report", conditions(), table(rows), notes]
    write(Path(__file__).with_suffix(".md"), "\n\n".join(parts), ratios)


if __name__ == "__main__":
    main()
