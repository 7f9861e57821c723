"""Mutated replies of a node, of the structure that `wire.messages.Answer` gives them.

A reply is drafted from a task with a sum of its own and then changed, field by field. Many changes leave it
valid on purpose: only what passes the first checks tries the later ones.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from hypothesis import strategies as st

from privacy import pack
from privacy.clipping.quantisation import limited_ranges
from tests.fuzz import mutations
from wire.messages import VERSION, Task

FIELDS = ("version", "round", "nonce", "layout", "dataset", "count")
SUMS = ("zero", "inside", "inside", "at the bound", "one value", "at another's", "a little over", "far over")


@dataclass
class Draft:
    """A reply to `task` in the making."""

    task: Task
    sum: torch.Tensor
    config: dict[str, Any]
    packed: bytes
    array: dict[str, Any] = field(default_factory=dict)  # what the Array says other than it is
    records: dict[str, Any] = field(default_factory=dict)  # None: left out
    error: Error | None = None
    reply_to: str | None = None  # the id of another message
    source: int | None = None  # the id of another node
    times: int = 1

    def messages(self, question: Message) -> list[Message]:
        """The reply, as often as it comes."""
        return [self._message(question) for _ in range(self.times)]

    def _message(self, question: Message) -> Message:
        reply = Message(self.error or self._content(), reply_to=question)
        if self.reply_to is not None:
            reply.metadata.__dict__["_reply_to_message_id"] = self.reply_to
        if self.source is not None:
            reply.metadata.__dict__["_src_node_id"] = self.source
        return reply

    def _content(self) -> RecordDict:
        stated = {"dtype": "uint8", "shape": (len(self.packed),), "stype": "numpy.ndarray"}
        data = self.array.get("data") or npy(np.frombuffer(self.packed, np.uint8))
        packed = Array(**{**stated, **self.array, "data": data})
        records = {
            "sum": ArrayRecord({"packed": packed}),
            "answer": ConfigRecord(self.config),
            **self.records,
        }
        return RecordDict({name: record for name, record in records.items() if record is not None})


@dataclass(frozen=True)
class Mutation:
    """A change of a draft; its name is what a failure shows."""

    name: str
    apply: Callable[[Draft], None] = field(repr=False)


@dataclass(frozen=True)
class Mutant:
    """One node's mutated reply."""

    sum: str
    seed: int
    changes: tuple[Mutation, ...]

    def messages(self, task: Task, question: Message) -> tuple[list[Message], torch.Tensor]:
        """The replies to a question, and the sum that they were drafted with."""
        total = sum_of(self.sum, self.seed, task)
        draft = Draft(task, total, answer_fields(task), packed_or_random(total, task, self.seed))
        for change in self.changes:
            change.apply(draft)
        return draft.messages(question), total


def answer_fields(task: Task) -> dict[str, Any]:
    """What an honest node writes beside its sum."""
    labels = {"round": task.round_number, "nonce": task.nonce, "layout": task.layout}
    return {"version": VERSION, **labels, "dataset": task.dataset, "count": len(task.speakers)}


def sum_of(kind: str, seed: int, task: Task) -> torch.Tensor:
    """A sum (task.bounds.size,) int64 in grid steps, for each slice of which the same holds."""
    draw, count = np.random.default_rng(seed), len(task.speakers)
    total = torch.zeros(task.bounds.size, dtype=torch.int64)
    ranges = limited_ranges(task.bounds, task.quantiser)
    for number, (_, begin, end, limit) in enumerate(ranges):
        reach = count * float(limit) ** 0.5
        if kind == "at another's":
            reach = count * float(ranges[number - 1][3]) ** 0.5
        total[begin:end] = torch.from_numpy(_slice(kind, draw, end - begin, reach))
    return total


def _slice(kind: str, draw: np.random.Generator, size: int, reach: float) -> np.ndarray:
    """Whole numbers (size,) whose norm stands to `reach` as the kind says."""
    direction = draw.normal(size=size)
    direction /= np.linalg.norm(direction) or 1.0
    shares = {"zero": 0.0, "inside": draw.random(), "a little over": 1.01, "far over": 3.0}
    if kind == "one value":
        direction = np.eye(1, size, draw.integers(size))[0] * draw.choice([-1, 1])
    return np.trunc(direction * reach * shares.get(kind, 1.0)).astype(np.int64)


def packed_or_random(total: torch.Tensor, task: Task, seed: int) -> bytes:
    """The packed sum; of one that has no such form, as many random bytes."""
    count = len(task.speakers)
    try:
        return pack(total, count, task.bounds, task.quantiser).tobytes()
    except ValueError:
        empty = pack(torch.zeros_like(total), count, task.bounds, task.quantiser)
        return np.random.default_rng(seed).bytes(len(empty))


def npy(array: np.ndarray) -> bytes:
    """The bytes of an array in numpy's format 1.0."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=(1, 0))
    return file.getvalue()


def npy_head(descr: Any, shape: Any, rest: bytes, fortran: bool = False) -> bytes:
    """A head that says what it likes, and bytes."""
    head = repr({"descr": descr, "fortran_order": fortran, "shape": shape}).encode("utf-8", "replace")
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + rest


# --- Changes ------------------------------------------------------------------------------------------


def of_fields() -> st.SearchStrategy[Mutation]:
    """A field of the answer is missing, another kind of thing, or new."""
    names, whole = st.sampled_from(FIELDS), st.sampled_from(["version", "round", "count"])
    anything = st.one_of(mutations.scalars, mutations.lists_of_one_kind())
    as_text = st.one_of(mutations.integers, mutations.floats).map(written)
    return st.one_of(
        st.builds(_without, names),
        st.builds(_with, names, anything),
        st.builds(_with, whole, st.one_of(mutations.integers, mutations.floats, as_text)),
        st.builds(_with, whole, st.integers(-2, 9)),
        st.builds(_with, st.just("problem"), st.one_of(mutations.texts(), anything)),
        st.builds(_with, st.just("dataset"), mutations.texts()),
        st.builds(_with, mutations.texts(20), anything),
    )


def _without(name: str) -> Mutation:
    return Mutation(f"no field {name}", lambda draft: draft.config.pop(name, None))


def _with(name: str, value: Any) -> Mutation:
    return Mutation(f"field {name!r} {written(value):.60}", lambda draft: draft.config.update({name: value}))


def written(value: Any) -> str:
    """A value as text, however many digits it has."""
    return repr(value) if not isinstance(value, int) or abs(value) < 10**4000 else hex(value)


@st.composite
def of_bytes(draw: st.DrawFn) -> Mutation:
    """The packed sum is damaged, cut, longer or another's."""
    seed, kind = (
        draw(st.integers(0, 2**32)),
        draw(st.sampled_from(["bits", "few", "cut", "longer", "noise", "ends"])),
    )
    count = draw(st.integers(1, 8))

    def apply(draft: Draft) -> None:
        random = np.random.default_rng(seed)
        packed = np.frombuffer(draft.packed, np.uint8).copy()
        if kind == "cut":
            packed = packed[: -count or None]
        elif kind == "longer":
            packed = np.concatenate([packed, random.integers(0, 2, count, dtype=np.uint8)])
        elif kind == "noise":
            packed = random.integers(0, 256, len(packed), dtype=np.uint8)
        elif len(packed):
            span = min(len(packed), 4 if kind == "few" else len(packed))
            places = (
                random.integers(0, span, count) if kind != "ends" else -1 - random.integers(0, span, count)
            )
            packed[places] ^= (1 << random.integers(0, 8, count)).astype(np.uint8)
        draft.packed = packed.tobytes()

    return Mutation(f"bytes {kind} {count} seed {seed}", apply)


@st.composite
def of_low_bits(draw: st.DrawFn) -> Mutation:
    """A sum that is another one, packed as it must be: one value differs by a little."""
    seed, by = draw(st.integers(0, 2**32)), draw(st.sampled_from([-3, -1, 1, 7]))

    def apply(draft: Draft) -> None:
        place = int(np.random.default_rng(seed).integers(len(draft.sum)))
        draft.sum[place] -= int(torch.sign(draft.sum[place]).item()) * abs(by)
        draft.packed = packed_or_random(draft.sum, draft.task, seed)

    return Mutation(f"value {by} seed {seed}", apply)


@st.composite
def of_array(draw: st.DrawFn) -> Mutation:
    """What the array says of itself, in Flower's words (which nobody reads) or in numpy's."""
    kind = draw(st.sampled_from(["dtype", "shape", "stype", "head", "descr", "shape in head", "damaged"]))
    word = draw(mutations.texts(20).filter(lambda text: text.isascii() or kind == "descr"))
    shape = draw(st.lists(st.sampled_from([0, 1, -1, 3, 2**31, 10**15, 2**63]), max_size=4).map(tuple))
    descr = draw(
        st.sampled_from(["|u1", "<i4", "|O", "<f8", "|S0", "<U9", "|V1", "|b1", [("a", "|u1")], "", 7, None])
    )
    rest = draw(st.binary(max_size=8))
    damage = draw(st.randoms(use_true_random=False))

    def apply(draft: Draft) -> None:
        if kind in ("dtype", "stype"):
            draft.array[kind] = word
        elif kind == "shape":
            draft.array[kind] = shape
        elif kind == "head":
            draft.array["data"] = npy_head(descr, shape, draft.packed + rest)
        elif kind == "descr":
            draft.array["data"] = npy_head(descr if descr else word, (len(draft.packed),), draft.packed)
        elif kind == "shape in head":
            draft.array["data"] = npy_head("|u1", shape or (-1,), draft.packed + rest)
        else:
            data = bytearray(npy(np.frombuffer(draft.packed, np.uint8)))
            data[damage.randrange(min(128, len(data)))] ^= 1 << damage.randrange(8)
            draft.array["data"] = bytes(data)

    return Mutation(f"array {kind} {word!r} {shape} {descr} {rest!r}", apply)


@st.composite
def of_records(draw: st.DrawFn) -> Mutation:
    """A record is missing, of another kind, doubled, or one that nobody asked for."""
    name = draw(st.sampled_from(["sum", "answer", "not-private", "plan", draw(mutations.texts(12))]))
    number = st.one_of(mutations.floats, mutations.integers, mutations.scalars)
    own = st.just(1)
    metrics = {name: draw(st.one_of(own, number)) for name in ("trained", "train-loss", "clipped-share")}
    if draw(st.booleans()):
        metrics["update-norms"] = draw(st.one_of(number, st.lists(mutations.floats, max_size=4)))
    kind = draw(st.sampled_from(["drop", "config", "metrics", "arrays", "empty", "raw", "raw", "raw"]))

    def apply(draft: Draft) -> None:
        made: dict[str, Callable[[], Any]] = {
            "drop": lambda: None,
            "config": lambda: ConfigRecord({"packed": 1, "round": 1}),
            "metrics": lambda: MetricRecord({"packed": 1.0}),
            "arrays": lambda: ArrayRecord({name: Array(np.zeros(3, np.float32))}),
            "empty": lambda: ArrayRecord(),
            "raw": lambda: ConfigRecord(metrics),
        }
        draft.records["not-private" if kind == "raw" else name] = made[kind]()

    return Mutation(
        f"record {name!r} {kind}"
        + (f" {[written(one)[:40] for one in metrics.values()]}" if kind == "raw" else ""),
        apply,
    )


@st.composite
def of_messages(draw: st.DrawFn) -> Mutation:
    """The reply says that it is an error, or another's, or comes again."""
    kind = draw(st.sampled_from(["error", "to another", "by another", "again"]))
    code, text = draw(st.integers(-5, 2**31)), draw(mutations.texts())
    node, times = draw(st.sampled_from([1, 2, 3, 99, 2**63])), draw(st.integers(2, 3))

    def apply(draft: Draft) -> None:
        if kind == "error":
            draft.error = Error(code=code, reason=text)
        elif kind == "to another":
            draft.reply_to = text
        elif kind == "by another":
            draft.source = node
        else:
            draft.times = times

    return Mutation(f"message {kind} {code} {text!r:.60} {node} {times}", apply)


changes = st.one_of(
    of_fields(), of_bytes(), of_low_bits(), of_low_bits(), of_array(), of_records(), of_messages()
)

mutants = st.builds(
    Mutant,
    sum=st.sampled_from(SUMS),
    seed=st.integers(0, 2**32),
    changes=st.lists(changes, max_size=2).map(tuple),
)
