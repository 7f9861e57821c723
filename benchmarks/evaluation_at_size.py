"""The server's evaluation of the paper's 255.8 M model: seconds of work a second of speech, and memory.

    python -m benchmarks.evaluation_at_size [MINUTES] [THREADS]

The speech is noise of 5 to 15 s an utterance, MINUTES of it (60), and the model has random weights: what it
makes of it is of no interest, but the work is the same. Features are computed once and kept on disk, as the
server keeps them. The evaluation is stopped in the middle and goes on, as after a crash. Writes
benchmarks/evaluation_at_size.md.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.report import conditions, table, write
from cli.composing import default_config
from recipes import RunConfig
from server.evaluation import EvaluationPlace, HeldOut
from speech.evaluation.evaluation import Evaluation
from speech.model.ctc_transformer import CTCTransformer, build_model
from speech.model.recogniser import BatchEvaluation

PAGE = Path(__file__).with_suffix(".md")
RATE_HZ = 16000
SHARE = 0.1
SPEAKERS = 20


class Stopped(Exception):
    """The evaluation is stopped here."""


def speech(folder: Path, seconds: float) -> Path:
    """Write a corpus of noise; return its manifest."""
    random = np.random.default_rng(0)
    lines: list[dict[str, object]] = []
    written = 0.0
    while written < seconds:
        name, duration = f"{len(lines):05}.wav", float(random.uniform(5.0, 15.0))
        noise = random.normal(0.0, 0.05, int(duration * RATE_HZ)).astype(np.float32)
        soundfile.write(folder / name, noise, RATE_HZ)
        lines.append(
            {
                "audio_filepath": name,
                "duration": len(noise) / RATE_HZ,
                "text": "one two three",
                "speaker": f"speaker-{len(lines) % SPEAKERS:02}",
                "split": "test",
            }
        )
        written += duration
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return manifest


def peak_gigabytes() -> float:
    """The most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def stopped_after(held_out: HeldOut, model: CTCTransformer, batches: int, kept: Path) -> None:
    """Evaluate so many batches, then stop as a crash does."""
    own, made = CTCTransformer.evaluate, 0

    def some(self: CTCTransformer, batch: object) -> BatchEvaluation:
        nonlocal made
        if made == batches:
            raise Stopped
        made += 1
        return own(self, batch)  # type: ignore[arg-type]

    CTCTransformer.evaluate = some  # type: ignore[method-assign]
    try:
        held_out.evaluate(model, kept)
    except Stopped:
        pass
    finally:
        CTCTransformer.evaluate = own  # type: ignore[method-assign]


def timed(work: Callable[[], Evaluation]) -> tuple[float, Evaluation]:
    """Wall-clock seconds of an evaluation, and what it found."""
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def main() -> None:
    """Measure, and write the page."""
    minutes, threads = (float(one) for one in (*sys.argv[1:], 60, 2)[:2])
    rows: list[tuple[str, ...]] = [("what", "seconds", "of a second of speech", "peak memory, GB")]

    def note(what: str, seconds: float, audio_seconds: float) -> None:
        rows.append((what, f"{seconds:.1f}", f"{seconds / audio_seconds:.3f}", f"{peak_gigabytes():.2f}"))
        print(*rows[-1], sep="  ", flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        settings = {"corpus.kind": "manifest", "corpus.path": str(speech(folder, 60 * minutes))}
        config = RunConfig.from_flat({**default_config(), **settings})
        model = build_model("paper", seed=0).eval()
        note("the model alone", 0.0, 60 * minutes)
        place = EvaluationPlace(threads=int(threads))
        held_out = HeldOut.of(config.corpus, model, place, SHARE)
        began = time.perf_counter()
        count = len(held_out.store.split_examples("test"))
        note("features, computed once", time.perf_counter() - began, 60 * minutes)
        seconds, look = timed(lambda: held_out.look(model))
        note(f"a look at {SHARE:g} of it", seconds, 60 * minutes)
        half, kept = math.ceil(count / 32) // 2, folder / "kept"
        began = time.perf_counter()
        stopped_after(held_out, model, half, kept)
        note("all of it, stopped in the middle", time.perf_counter() - began, 60 * minutes)
        seconds, found = timed(lambda: held_out.evaluate(model, kept))
        note("and the rest of it", seconds, 60 * minutes)
    if len(found.ids) != count or len(look.ids) != round(SHARE * count):
        raise SystemExit(f"{len(found.ids)} and {len(look.ids)} of {count} utterances were evaluated")
    write(
        PAGE,
        "# The server's evaluation at the paper's size\n\n`python -m benchmarks.evaluation_at_size "
        f"{minutes:g} {threads:g}`\n\n{conditions().replace('one thread', f'{threads:g} threads')}\n"
        f"- 255.8 M parameters, float32, {minutes:g} minutes of noise in {count} utterances, 32 a batch\n\n"
        f"{table(rows)}",
    )


if __name__ == "__main__":
    main()
