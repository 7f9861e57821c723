import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from cli.composing import default_config
from privacy import PrivacyPlan
from recipes import RunConfig
from server.errors import ResumeRefused
from server.storage.checkpoints import Checkpoint, Identity, load_checkpoint, save_checkpoint

PLAN = PrivacyPlan(population=96, cohort=24.0, rounds=40, noise_multiplier=0.7, delta=1e-6)


def config(**changes):
    known = {"privacy.clip-bound": 0.5, "server.beta1": 0.9, "model.name": "tiny"}
    return RunConfig.from_flat({**default_config(), **known, **changes})


IDENTITY = Identity.of(config(), PLAN, "layout-digest", "data-digest")
CHECKPOINT = Checkpoint(
    round_number=3,
    identity=IDENTITY,
    ledger_head="f" * 64,
    privacy="see ledger.jsonl",
    tensors={"vector": torch.arange(5.0), "optimiser.steps": torch.tensor(3)},
)


def test_a_checkpoint_comes_back_as_it_was_and_appears_whole(tmp_path):
    path = tmp_path / "round-000003.safetensors"
    save_checkpoint(path, CHECKPOINT)
    back = load_checkpoint(path)
    assert replace(back, tensors={}) == replace(CHECKPOINT, tensors={}, lineage=())
    assert load_checkpoint(path, tensors=False) == replace(back, tensors={})
    assert all(torch.equal(back.tensors[name], value) for name, value in CHECKPOINT.tensors.items())
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_file_then_folder_are_on_disk_before_the_round_goes_on(tmp_path, monkeypatch):
    done = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(descriptor):
        done.append(os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(str(tmp_path)))
        real_sync(descriptor)

    def rename(source, target):
        done.append("rename")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", rename)
    save_checkpoint(tmp_path / "round-000003.safetensors", CHECKPOINT)
    assert done == ["/round-000003.partial", "rename", ""]


def test_a_write_that_fails_leaves_the_old_checkpoint_whole(tmp_path, monkeypatch):
    path = tmp_path / "round-000003.safetensors"
    save_checkpoint(path, CHECKPOINT)

    def full(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(path, replace(CHECKPOINT, round_number=4))
    assert load_checkpoint(path).round_number == 3


@pytest.mark.parametrize("damage", [b"", b"not safetensors", None])
def test_a_damaged_checkpoint_is_named_with_a_remedy(tmp_path, damage):
    path = tmp_path / "round-000003.safetensors"
    save_checkpoint(path, CHECKPOINT)
    path.write_bytes(path.read_bytes()[:-4] if damage is None else damage)
    with pytest.raises(ResumeRefused, match=r"round-000003.safetensors cannot be read .*one before it"):
        load_checkpoint(path)


def test_another_format_is_named(tmp_path):
    path = tmp_path / "round-000003.safetensors"
    save_file({"vector": torch.ones(2)}, path, {"format": "murmuration-federation-1"})
    with pytest.raises(ResumeRefused, match=r"format 'murmuration-federation-1', this release reads"):
        load_checkpoint(path)


DIFFERENCES = {
    "population": (Identity.of(config(), replace(PLAN, population=97), "layout-digest", "data-digest"),
                   "plan: population was 96 and is now 97"),
    "noise": (Identity.of(config(), replace(PLAN, noise_multiplier=0.6), "layout-digest", "data-digest"),
              "plan: noise_multiplier was 0.7 and is now 0.6"),
    "layout": (Identity.of(config(), PLAN, "another", "data-digest"),
               "model layout was 'layout-digest' and is now 'another'"),
    "frozen": (Identity.of(config(), PLAN, "layout-digest", "data-digest", "ab"),
               "frozen parameters was '' and is now 'ab'"),
    "trainable": (Identity.of(config(**{"model.trainable": "norm.*"}), PLAN, "layout-digest", "data-digest"),
                  "model.trainable was 'all' and is now 'norm.*'"),
    "data": (Identity.of(config(), PLAN, "layout-digest", "others"),
             "data set was 'data-digest' and is now 'others'"),
    "preset": (Identity.of(config(**{"model.name": "small"}), PLAN, "layout-digest", "data-digest"),
               "model was 'tiny' and is now 'small'"),
    "clip bound": (Identity.of(config(**{"privacy.clip-bound": 0.25}), PLAN, "layout-digest", "data-digest"),
                   "privacy.clip-bound was 0.5 and is now 0.25"),
    "optimiser": (Identity.of(config(**{"server.beta1": 0.5}), PLAN, "layout-digest", "data-digest"),
                  "server.beta1 was 0.9 and is now 0.5"),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENCES)
def test_every_difference_is_named(name):
    now, words = DIFFERENCES[name]
    assert words in IDENTITY.differences(now)


def test_the_same_run_has_no_differences_wherever_its_corpus_lies_and_however_long_it_waits():
    moved = config(
        **{"corpus.feature-cache": False, "local.processor-seconds": 60.0},
        **{"corpus.path": "/elsewhere", "run.resume": "latest", "run.folder": "/there"},
        **{"training.wait-seconds": 1.0, "privacy.extrapolate-cohort": 5.0},
    )
    assert IDENTITY.differences(Identity.of(moved, PLAN, "layout-digest", "data-digest")) == []
    assert IDENTITY.differences(IDENTITY) == []


def test_identity_survives_the_file_exactly(tmp_path):
    """Floats of a plan come back bit for bit, or a resumed run would be refused for nothing."""
    odd = replace(PLAN, noise_multiplier=0.1 + 0.2, delta=1e-9 / 3)
    checkpoint = replace(CHECKPOINT, identity=Identity.of(config(), odd, "l", "d"))
    save_checkpoint(tmp_path / "c.safetensors", checkpoint)
    assert load_checkpoint(tmp_path / "c.safetensors").identity.differences(checkpoint.identity) == []
