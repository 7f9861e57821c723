"""What fuzzing found, each as a test of its own."""

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from flwr.app import ConfigRecord, RecordDict
from safetensors.torch import load_file, save_file

from cli.composing import default_config, read_recipe, read_settings
from privacy.errors import LedgerCorrupt
from privacy.ledger.ledger import Ledger, read_ledger
from privacy.ledger.lineage import lineage_from_json
from recipes import ConfigError, RunConfig
from server.errors import RegistrationError, ResumeRefused
from server.registration import register_nodes
from server.storage.checkpoints import load_checkpoint
from speech.audio import read_audio, resample
from speech.errors import AudioError, CheckpointMismatch
from speech.model.checkpoint import load_model, save_model
from speech.model.ctc_transformer import build_model
from strategies import StreamingGrid
from tests.fuzz.replies import Mutant, Mutation
from tests.fuzz.rounds import Federation, check, play
from tests.strategies.flower import FakeGrid
from wire.messages import VERSION
from wire.node_info import NodeInfo

SHAPES = [("weight", (6, 4)), ("bias", (6,))]
DIGITS = 10**5000  # more than Python prints


@pytest.mark.parametrize("name", ["round", "count"])
@pytest.mark.parametrize("value", [pytest.param(DIGITS, id="digits"), 2**63, True, 1.0, "1"])
def test_a_label_that_is_no_number_of_64_bits_ends_no_round(tmp_path: Path, name: str, value: object) -> None:
    federation = Federation(tmp_path, SHAPES, {1: 2, 2: 1})
    change = Mutation(name, lambda draft: draft.config.update({name: value}))
    played, counts = play(federation, [Mutant("inside", 0, (change,))], streamed=False)
    check(federation, played)
    assert not counts["added"]
    assert "cannot be read" in federation.strategy.last_report.dropped[0].reason


@pytest.mark.parametrize("trained", [pytest.param(10**400, id="large"), "1" + "0" * 400, math.inf])
def test_raw_metrics_that_no_mean_can_be_taken_of_end_no_round(tmp_path: Path, trained: object) -> None:
    federation = Federation(tmp_path, SHAPES, {1: 2, 2: 1}, raw_metrics=True)
    raw = ConfigRecord({"trained": trained, "train-loss": 1.0, "clipped-share": 0.0})
    change = Mutation("raw", lambda draft: draft.records.update({"not-private": raw}))
    played, counts = play(federation, [Mutant("inside", 0, (change,))], streamed=False)
    check(federation, played)
    assert not counts["added"]


@pytest.mark.parametrize("norms", [1.0, ["1"], [1], [math.nan] * 3, [-1.0] * 3, [math.inf] * 3, [1.0] * 99])
def test_norms_that_are_none_of_an_update_end_no_round(tmp_path: Path, norms: object) -> None:
    federation = Federation(tmp_path, SHAPES, {1: 2, 2: 1}, raw_metrics=True)
    raw = ConfigRecord({"trained": 1, "train-loss": 1.0, "clipped-share": 0.0, "update-norms": norms})
    change = Mutation("raw", lambda draft: draft.records.update({"not-private": raw}))
    played, counts = play(federation, [Mutant("inside", 0, (change,))], streamed=False)
    check(federation, played)
    assert not counts["added"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("speakers", True),
        pytest.param("speakers", DIGITS, id="digits of speakers"),
        pytest.param("parts", DIGITS, id="digits of parts"),
        ("skipped", 2**63),
        ("dataset", "\ud800"),
        ("split", "a\x1b[2J"),
    ],
)
def test_an_answer_at_registration_that_cannot_be_written_is_refused(field: str, value: object) -> None:
    fields = {"speakers": 3, "dataset": "d", "split": "train", field: value}
    with pytest.raises(ValueError, match=r"it (states|says|names)|is not valid"):
        NodeInfo.of(ConfigRecord(fields))


@pytest.mark.parametrize("name", ["version", "problem"])
def test_a_registration_with_a_number_that_cannot_be_written_names_the_node(name: str) -> None:
    fields = {"version": VERSION, "speakers": 3, "dataset": "d", "split": "train", name: DIGITS}
    grid = StreamingGrid(FakeGrid({7: lambda message: RecordDict({"answer": ConfigRecord(fields)})}))
    with pytest.raises(RegistrationError, match="node 7: Exceeds the limit"):
        register_nodes(grid, RunConfig.from_flat(default_config()).training)


def test_a_recipe_with_a_number_beyond_all_floats_or_deep_nesting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"local\.learning-rate"):
        RunConfig.from_flat({**default_config(), "local.learning-rate": 10**400})
    for content in ("a = " + "[" * 50_000, "a = " + "1" * 5000):
        (tmp_path / "recipe.toml").write_text(content)
        with pytest.raises(ConfigError, match="is no TOML"):
            read_recipe(tmp_path / "recipe.toml")
    with pytest.raises(ConfigError, match="is no number"):
        read_settings(["local.steps=" + "1" * 5000])


def test_a_ledger_or_a_lineage_that_is_nested_deeply_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    for content in (b'{"a":' * 50_000, b'{"a":' * 50_000 + b"\n", b"[" * 50_000):
        path.write_bytes(content)
        with pytest.raises(LedgerCorrupt, match="line 1"):
            read_ledger(path)
        with pytest.raises(LedgerCorrupt, match="line 1"):
            Ledger.open(path)
    for text in ("[" * 50_000, '[{"run": 5, "people": "p", "private": false, "releases": []}]'):
        with pytest.raises(ValueError):
            lineage_from_json(text)


@pytest.mark.parametrize(
    "metadata", [{}, {"round": "x"}, {"identity": "[]"}, {"identity": "[" * 50_000}, {"lineage": "5"}]
)
def test_a_checkpoint_that_lacks_what_it_belongs_to_is_refused(
    tmp_path: Path, metadata: dict[str, str]
) -> None:
    path = tmp_path / "round-000001.safetensors"
    said = {"format": "murmuration-federation-3", "ledger_head": "f", "privacy": "none", "round": "1"}
    save_file({"vector": torch.zeros(2)}, path, metadata=said | metadata)
    with pytest.raises(ResumeRefused, match=r"the metadata of checkpoint .* cannot be used"):
        load_checkpoint(path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.int32])
def test_a_model_file_of_other_numbers_is_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, build_model("tiny", seed=3), "tiny")
    metadata = dict(load_model(path).metadata)
    save_file({name: value.to(dtype) for name, value in load_file(path).items()}, path, metadata=metadata)
    with pytest.raises(CheckpointMismatch, match=r"holds numbers of type .* and not F32"):
        load_model(path)


def test_a_giant_sample_rate_is_refused_before_anything_is_resampled(tmp_path: Path) -> None:
    """Its resampling kernel would take hundreds of gigabytes."""
    soundfile.write(tmp_path / "a.wav", np.zeros(1000) + 0.1, 2**31 - 1)
    with pytest.raises(AudioError, match="its sample rate is 2147483647 Hz"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("rate_hz", [4_000, 11_025, 22_050, 44_100, 44_101, 96_000, 767_999])
def test_resampling_keeps_the_length_in_seconds(rate_hz: int) -> None:
    assert len(resample(torch.zeros(rate_hz), rate_hz, 16_000)) == pytest.approx(16_000, rel=1e-3)
