"""Several processes make the steps of one. Starting one costs seconds: the test shares what it starts."""

import os
from pathlib import Path

import pytest
import torch

from speech.corpora.corpus import Corpus
from speech.errors import CheckpointMismatch, SpeechError
from speech.model.checkpoint import load_model, save_model
from speech.model.ctc_transformer import build_model
from speech.pretraining import PretrainConfig, Snapshots, Step, pretrain
from speech.pretraining.distributed import Processes, _member, launch
from tests.speech import toy

# What each process draws for itself is off, so that all that is left between one and two is rounding.
PLAIN = PretrainConfig(
    epochs=0,
    steps=8,
    batch_size=3,
    dropout=0.0,
    spec_augment=False,
    optimiser="lars",
    learning_rate=1.0,
)
# Its parts are clipped to the smallest of their norms, whichever process has it.
PARTS = PLAIN.model_copy(update={"clip": "adaptive-micro", "steps": 2, "learning_rate": 0.05})
RANDOM = PretrainConfig(epochs=2, batch_size=0, batch_seconds=4.0, dropout=0.1, layer_drop=0.3)


def train_and_break(processes: Processes, corpus: Corpus, folder: Path) -> None:
    """Three whole trainings, and one that breaks in the first process after its third step."""
    plain = pretrain(corpus, PLAIN, processes=processes)
    parts = pretrain(corpus, PARTS, processes=processes)
    whole = pretrain(corpus, RANDOM, processes=processes, feature_folder=folder / "features")
    if processes.first:
        save_model(folder / "plain", plain.model, "tiny")
        save_model(folder / "parts", parts.model, "tiny")
        save_model(folder / "whole", whole.model, "tiny")

    def stop(step: Step, look: object) -> None:
        if step.number == 3:
            raise OSError("broken on purpose")

    snapshots = Snapshots(path=folder / "snapshot", every=1)
    pretrain(corpus, RANDOM, processes=processes, snapshots=snapshots, on_step=stop)


def go_on(processes: Processes, corpus: Corpus, folder: Path) -> None:
    snapshots = Snapshots(path=folder / "snapshot", every=1, resume=True)
    resumed = pretrain(corpus, RANDOM, processes=processes, snapshots=snapshots)
    if processes.first:
        save_model(folder / "resumed", resumed.model, "tiny")


def test_two_processes_make_the_steps_of_one_and_can_be_resumed(tmp_path: Path) -> None:
    corpus = toy.corpus(tmp_path)
    # The first failure ends all of them, and its message is what one gets.
    with pytest.raises(SpeechError, match=r"^broken on purpose$"):
        launch(2, train_and_break, corpus, tmp_path)

    # 2 x B/2 against 1 x B, after 8 steps of LARS, whose size no rounding can hide.
    fresh = build_model("tiny", seed=PLAIN.random_seed)
    for config, name in ((PLAIN, "plain"), (PARTS, "parts")):
        one = pretrain(corpus, config).model
        two = load_model(tmp_path / name).model
        for a, b, start in zip(one.parameters(), two.parameters(), fresh.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
            assert (a - start).norm() > 20 * (a - b).norm()

    snapshot = Snapshots(path=tmp_path / "snapshot", every=1, resume=True)
    with pytest.raises(CheckpointMismatch, match="processes was 2 and is now 1"):
        pretrain(corpus, RANDOM, snapshots=snapshot)
    launch(2, go_on, corpus, tmp_path)
    whole, resumed = (load_model(tmp_path / name).model for name in ("whole", "resumed"))
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_process_whose_parent_is_gone_does_not_wait_for_the_others(tmp_path: Path) -> None:
    strangers = os.getpid()  # nobody is the parent of itself
    with pytest.raises(SystemExit):
        _member(0, strangers, 2, f"file://{tmp_path}/meeting", None, train_and_break, ())


def test_no_process_is_refused() -> None:
    with pytest.raises(ValueError, match="--processes 0 must be at least 1"):
        launch(0, train_and_break)
