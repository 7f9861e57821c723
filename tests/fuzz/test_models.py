"""Mutated model files and checkpoints: loaded as what they are, or refused, in bounded memory."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from privacy import PrivacyPlan
from privacy.accounting.epsilon import Release
from privacy.errors import PrivacyError
from privacy.ledger.lineage import Ancestor, lineage_from_json, lineage_to_json
from recipes import RunConfig
from server.errors import ResumeRefused
from server.storage.ancestry import lineage_of_model
from server.storage.checkpoints import Checkpoint, Identity, load_checkpoint, save_checkpoint
from speech.errors import SpeechError
from speech.model.checkpoint import load_model, save_model
from speech.model.ctc_transformer import build_model
from tests.fuzz import mutations
from tests.fuzz.counts import fuzz, peak_megabytes, tally
from tests.fuzz.test_recipes import FLAT

LINEAGE = (
    Ancestor(
        run="first",
        people="people",
        private=True,
        delta=1e-6,
        adjacency="zero-out",
        releases=(Release(sampling_rate=0.1, noise_multiplier=1.0, count=3),),
    ),
)
PLAN = PrivacyPlan(population=96, cohort=24.0, rounds=40, noise_multiplier=0.7, delta=1e-6)
DTYPES = ["F32", "F16", "BF16", "F64", "I32", "I64", "U8", "BOOL", "F8_E4M3", "X", ""]
MORE_MEGABYTES = 50


@st.composite
def safetensors(draw: st.DrawFn, content: bytes) -> bytes:
    """A safetensors file with changed bytes, or a changed header."""
    kind = draw(
        st.sampled_from(["bytes", "header", "header", "length", "metadata", "metadata", "json", "dtype"])
    )
    length = struct.unpack("<Q", content[:8])[0]
    head, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    names = sorted(name for name in head if name != "__metadata__")
    if kind == "bytes":
        start = content[: 8 + length + 64]  # hypothesis keeps what its strategies are made of
        return draw(mutations.byte_mutations(start)) + content[len(start) :]
    if kind == "length":
        claimed = draw(st.sampled_from([0, 1, length - 1, length + 1, 2**31, 2**40, 2**63, 2**64 - 1]))
        return struct.pack("<Q", claimed) + content[8:]
    if kind == "metadata":
        key = draw(st.sampled_from(sorted(head["__metadata__"])))
        value = head["__metadata__"][key]
        head["__metadata__"][key] = draw(st.one_of(mutations.texts(), _text_mutations(value)))
    elif kind == "dtype":
        head[draw(st.sampled_from(names))]["dtype"] = draw(st.sampled_from(DTYPES))
        if draw(st.booleans()):  # all of them, and half or twice as much data
            head, data = _as_dtype(head, data, draw(st.sampled_from(["F16", "I32", "F64"])))
    elif kind == "header":
        name = draw(st.sampled_from(names))
        head[name] = draw(mutations.json_mutations(head[name]))
    else:
        head = draw(mutations.json_mutations(head))
    return _file(json.dumps(head).encode("utf-8"), data)


def _text_mutations(value: str) -> st.SearchStrategy[str]:
    try:
        parsed = json.loads(value)
    except ValueError:
        return st.sampled_from([value + " ", value[:-1], value * 2, ""])
    deep = st.integers(1, 60_000).map(lambda depth: "[" * depth)
    return st.one_of(mutations.json_mutations(parsed).map(json.dumps), deep)


def _file(head: bytes, data: bytes) -> bytes:
    return struct.pack("<Q", len(head)) + head + data


def _as_dtype(head: dict[str, Any], data: bytes, dtype: str) -> tuple[dict[str, Any], bytes]:
    """The header and data of the same tensors as another type: a valid file."""
    size, place, changed = {"F16": 2, "I32": 4, "F64": 8}[dtype], 0, {}
    for name, one in head.items():
        if name == "__metadata__":
            changed[name] = one
            continue
        end = place + size * int(torch.Size(one["shape"]).numel())
        changed[name] = {**one, "dtype": dtype, "data_offsets": [place, end]}
        place = end
    return changed, bytes(place)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    extra = {"lineage": lineage_to_json(LINEAGE), "privacy": "see ledger.jsonl"}
    save_model(path, build_model("tiny", seed=3), "tiny", extra)
    return path.read_bytes()


def test_mutated_model_files_are_the_model_of_their_preset_or_are_refused(
    tmp_path: Path, model: bytes
) -> None:
    counts, file = tally("model files"), tmp_path / "model.safetensors"
    (tmp_path / "runs").mkdir()

    @fuzz(short=120, long=700)
    @given(safetensors(model))
    def one_file(content):
        counts["files"] += 1
        file.write_bytes(content)
        before = peak_megabytes()
        try:
            loaded = load_model(file)
            assert all(value.dtype == torch.float32 for value in loaded.model.state_dict().values())
            counts["loaded"] += 1
        except SpeechError as error:
            assert str(file) in str(error)
        assert peak_megabytes() - before < MORE_MEGABYTES
        try:
            for one in lineage_of_model(file):
                assert isinstance(one.run, str) and isinstance(one.people, str)
            counts["with a lineage"] += 1
        except (SpeechError, PrivacyError) as error:
            assert str(file) in str(error)

    one_file()
    assert counts["loaded"] > 0


def test_mutated_checkpoints_are_read_or_refused(tmp_path: Path) -> None:
    counts, file = tally("checkpoints"), tmp_path / "round-000003.safetensors"
    checkpoint = Checkpoint(
        round_number=3,
        identity=Identity.of(RunConfig.from_flat(FLAT), PLAN, "layout", "data"),
        ledger_head="f" * 64,
        privacy="see ledger.jsonl",
        tensors={"vector": torch.arange(5.0), "optimiser.steps": torch.tensor(3)},
        run="run",
        lineage=LINEAGE,
    )
    save_checkpoint(file, checkpoint)

    @fuzz(short=150, long=500)
    @given(safetensors(file.read_bytes()))
    def one_file(content):
        counts["files"] += 1
        file.write_bytes(content)
        try:
            read = load_checkpoint(file)
        except ResumeRefused as error:
            assert str(file) in str(error)
            return
        counts["read"] += 1
        assert read.round_number >= 0 and isinstance(read.population_name, str)
        assert read.plan.epsilon_of(0, pld=False).value == 0
        read.identity.differences(checkpoint.identity)

    one_file()
    assert counts["read"] > 0


def test_a_lineage_with_other_things_for_names_is_none() -> None:
    for text in ("[" * 60_000, '[{"run": 5, "people": "p", "private": false, "releases": []}]', "[5]", "{}x"):
        with pytest.raises(ValueError):
            lineage_from_json(text)
