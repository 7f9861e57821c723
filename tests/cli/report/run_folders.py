"""A finished run folder, and the same with secrets planted in every part of it."""

import json
import shutil
from pathlib import Path

from server.storage.run_folder import RunFolder
from tests.corpora import make_corpus
from tests.server.in_process import federate, recipe

ROUNDS = 2
NODE, DRAWN, BYTES = 987654321012345, 7137, 31415926535
TENSORS = ("output.weight", "output.bias")
SECRETS = (  # what no public page may have, in any way that it could be written
    *(str(NODE), f"{NODE:,}", str(DRAWN), f"{DRAWN:,}", str(BYTES), f"{BYTES / 1e6:,.1f}", "31415"),
    *("planted-reason", "planted-summary", "planted-metric", "planted-evaluation", "planted-namespace"),
    *("planted-ward", "planted-speaker", "planted-value", "planted-field", "planted-utterance"),
    *("planted transcript", "planted hypothesis", "planted before", "planted-host", "planted-decoding"),
    "planted speaker",
    *("0.123456789", "0.12346", "0.8765", "hidden.bias"),
)


def make_run(folder: Path, **changes: object) -> Path:
    """A private run of some rounds in one process, in `folder`/runs."""
    corpus = make_corpus(folder / "planted-host", {"train": 5, "test": 3}, utterances=2)
    settings = {
        "training.rounds": ROUNDS,
        "run.folder": str(folder / "runs"),
        "privacy.noise-multiplier": 5.0,
        "privacy.population-name": "planted-ward",
        "corpus.speaker-namespace": "planted-namespace",
        **changes,
    }
    return federate(recipe(corpus, **settings))


def copied(run: Path, to: Path) -> Path:
    """A copy of a run folder and its ledgers that a test may change."""
    shutil.copytree(run.parent, to, symlinks=True)
    return to / run.name


def plant(run: Path) -> None:
    """Write secrets into every file of a run folder that a report could open."""
    folder = RunFolder(run)
    folder.summary.write_text("planted-summary: node planted-host")
    with folder.metrics.open("a") as file:
        last = json.loads(folder.metrics.read_text().splitlines()[-1])
        planted = {"drawn": DRAWN, "planted-metric": 0.123456789, "note": "planted-metric"}
        groups = {"/planted-host/a": 0.5, "output": "planted-metric", "planted speaker": 0.5}
        file.write(json.dumps({**last, **planted, "group_signal_to_noise": groups}) + "\n")
    found = json.loads(folder.evaluation.read_text())
    found["wer"]["planted-evaluation"] = 0.123456789
    folder.evaluation.write_text(
        json.dumps(
            {**found, **evaluation_parts(), "host": "planted-evaluation", "normaliser": "planted-evaluation"}
        )
    )
    plant_traffic(folder)
    plant_norms(folder)


def plant_traffic(folder: RunFolder) -> None:
    lines = [{"keep_secret": "planted-reason"}]
    for number in range(1, ROUNDS + 1):
        drop = {"node": NODE, "reason": "planted-reason"}
        about = {"drawn": DRAWN, "nodes_asked": 3, "nodes_answered": 2, "dropped": [drop]}
        lines.append({"round": number, **about, "bytes_down": BYTES, "bytes_up": BYTES, "seconds": 0.8765})
        lines.append({"round": number, "node": NODE, "bytes_down": BYTES, "bytes_up": BYTES})
    folder.traffic.write_text("".join(json.dumps(line) + "\n" for line in lines))


def plant_norms(folder: RunFolder, tensors: tuple[str, ...] = ("hidden.bias", "planted-metric")) -> None:
    lines = [{"not_private": "planted-metric", "tensors": list(tensors)}]
    for number in range(1, ROUNDS + 1):
        for node, speakers, norms in ((1, 3, [1.0, 4.0]), (2, 1, [5.0, 0.0])):
            about = {"round": number, "node": node, "speakers": speakers, "train_loss": 0.123456789}
            lines.append({**about, "clipped_share": 0.8765, "update_norms": norms})
    folder.not_private.write_text("".join(json.dumps(line) + "\n" for line in lines))


def evaluation_parts() -> dict:
    """What a file of `murmur evaluate` has of single speakers."""
    counts = {"rate": 0.25, "interval": {"low": 0.2, "high": 0.3, "level": 0.95}, "errors": 1, "of": 4}
    return {
        "by_speaker": {"planted-speaker": {"wer": 0.25, "words": 4}, "another": {"wer": 0.5, "words": 4}},
        "worst_utterances": [
            {
                "id": "planted-utterance",
                "speaker": "planted-speaker",
                "errors": 1,
                "reference": "planted transcript one",
                "hypothesis": "planted hypothesis one",
                "hypothesis_against": "planted before one",
            }
        ],
        "by": {
            "field": "planted-field",
            "values": {"planted-value": {"wer": counts, "cer": counts, "speakers": 1}},
        },
    }


def evaluation_file(run: Path, to: Path, /, **changes: object) -> Path:
    """A file as `murmur evaluate --run --json` writes it."""
    found = json.loads(RunFolder(run).evaluation.read_text())
    told = {"model": str(run / "model.safetensors"), "corpus": "planted-host", "decoding": "planted-decoding"}
    to.write_text(json.dumps({**found, **evaluation_parts(), **told, "warnings": [], **changes}))
    return to
