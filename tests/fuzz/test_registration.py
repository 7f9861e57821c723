"""Mutated answers at registration: a run that starts knows whom it counts, or says who cannot take part."""

from dataclasses import asdict
from pathlib import Path

from flwr.app import ConfigRecord, Error, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from cli.composing import default_config
from recipes import RunConfig
from server.errors import RegistrationError
from server.registration import register_nodes
from server.storage.populations import ledger_path
from strategies import StreamingGrid
from tests.fuzz import mutations
from tests.fuzz.counts import fuzz, tally
from tests.fuzz.replies import written
from tests.strategies.flower import FakeGrid
from wire.messages import VERSION
from wire.node_info import MOST_SPEAKERS, NodeInfo

SETTINGS = RunConfig.from_flat({**default_config(), "training.wait-seconds": 0.3}).training
HONEST = NodeInfo(speakers=3, dataset="d" * 64, split="train", part=0, parts=2)
MOST_TOLD = 2_000  # characters


class Said:
    """An answer, which a failure shows even if its numbers are longer than Python prints."""

    def __init__(self, content: RecordDict | Error) -> None:
        self.content = content

    def __repr__(self) -> str:
        if isinstance(self.content, Error):
            return f"error {self.content.code}: {self.content.reason!r}"
        return str(
            {name: {key: written(one) for key, one in held.items()} for name, held in self.content.items()}
        )


@st.composite
def answers(draw: st.DrawFn) -> Said:
    """What node 2 says: an answer with some of its fields changed, an error, or other records."""
    held = NodeInfo(
        speakers=draw(st.integers(1, 5)),
        dataset=draw(st.sampled_from(["d" * 64, "e" * 64])),
        split="train",
        part=1,
        parts=2,
        skipped=draw(st.integers(0, 9)),
    )
    tokens = draw(st.binary(min_size=16 * held.speakers, max_size=16 * held.speakers))
    fields = {"version": VERSION, **asdict(held), "tokens": draw(st.sampled_from([b"", tokens]))}
    for name in draw(st.lists(st.sampled_from(sorted(fields)), max_size=2, unique=True)):
        value = draw(st.one_of(mutations.scalars, mutations.lists_of_one_kind()))
        near = [fields[name]] * 2 if isinstance(fields[name], str | bytes) else fields[name]
        fields[name] = draw(st.sampled_from([value, near]))
        if draw(st.integers(0, 5)) == 0:
            del fields[name]
    if draw(st.integers(0, 9)) == 0:
        fields["problem"] = draw(mutations.scalars)
    content = RecordDict({draw(st.sampled_from(["answer"] * 9 + ["other"])): ConfigRecord(fields)})
    failed = Error(code=draw(st.integers(-1, 99)), reason=draw(mutations.texts()))
    return Said(failed if draw(st.integers(0, 9)) == 0 else content)


def test_mutated_answers_at_registration_are_counted_as_they_are_or_named(tmp_path: Path) -> None:
    counts = tally("registration answers")

    @fuzz(short=250, long=1000)
    @given(answers())
    def one_call(said):
        answer = said.content
        counts["answers"] += 1
        nodes = {1: lambda message: HONEST.to_record(), 2: lambda message: answer}
        try:
            roll = register_nodes(StreamingGrid(FakeGrid(nodes)), SETTINGS)
        except RegistrationError as error:
            told = str(error)
            assert "2" in told and told.isprintable() and len(told) < MOST_TOLD, told[:MOST_TOLD]
            return
        counts["taken"] += 1
        speakers = answer["answer"]["speakers"]
        assert type(speakers) is int and 1 <= speakers <= MOST_SPEAKERS
        assert roll.population_index.population == HONEST.speakers + speakers
        assert roll.skipped < 2**63
        assert roll.dataset.isprintable()
        assert ledger_path(tmp_path, roll.dataset).resolve().is_relative_to(tmp_path.resolve())

    one_call()
    assert counts["taken"] >= counts["answers"] / 5
