"""What rounds leave in a SuperLink's database: `python -m benchmarks.object_store`.

A real SuperLink on SQLite, over HTTP and gRPC. This script is the ServerApp and three nodes: one answers, one
is connected and never fetches anything, one fetches and answers from a second before to a second after the
end of its message's time. The goal: the database after 100 rounds is that after 20. Beside it is what
Flower's own calls leave in fewer rounds.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MessageType, RecordDict
from flwr.common.serde import run_from_proto
from flwr.proto.runtime_pb2 import AcquireTaskRequest, PullTaskInputRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.interceptors import RuntimeTokenHttpInterceptor, RuntimeVersionHttpInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid

from benchmarks.report import Ratio, conditions, table, write
from strategies import StreamingGrid
from strategies.superlink_replies import ReplyChannel
from tests.fleet import NodeEnd, at_work, fleet_node
from tests.forged import honest
from tests.loopback import Loopback, loopback

PARAMETERS = 250_000
ROUNDS, CONTROL_ROUNDS, LOOKS = 100, 10, (10, 20, 50, 100)
DEADLINE_SECONDS = 2.0
LATENESS_SECONDS = 1.0  # at most, before and after the end of a message's time
GOLDEN = 0.618034  # its multiples' fractions are spread evenly
TURN_SECONDS = 0.02


@dataclass
class Prompt:
    """A node that answers at once."""

    end: NodeEnd

    def turn(self) -> None:
        """What it has to do now."""
        if (question := self.end.fetch()) is not None:
            self.end.answer(question, honest(reply_to(question)))


@dataclass
class Late:
    """A node that answers around the end of its message's time: now before, now after, evenly."""

    end: NodeEnd
    sent: int = 0
    taken: int = 0
    before_the_end: int = 0

    def turn(self) -> None:
        """What it has to do now."""
        if (question := self.end.fetch()) is None:
            return
        reply = honest(reply_to(question))
        left = question.metadata.created_at + question.metadata.ttl - time.time()
        time.sleep(max(0.0, left + LATENESS_SECONDS * (2 * (GOLDEN * self.sent % 1) - 1)))
        self.sent += 1
        self.before_the_end += time.time() < question.metadata.created_at + question.metadata.ttl
        self.taken += self.end.answer(question, reply)


def vector() -> RecordDict:
    """A model, or an update: no two have a byte in common."""
    numbers = np.random.default_rng().standard_normal(PARAMETERS).astype(np.float32)
    return RecordDict({"x": ArrayRecord({"vector": Array(numbers)})})


def reply_to(question: Message) -> Message:
    """An update as large as the model."""
    return Message(vector(), reply_to=question)


@contextmanager
def server_app(made: Loopback) -> Iterator[HttpGrid]:
    """The grid of a ServerApp whose run has been submitted, and which is this process."""
    address = f"127.0.0.1:{made.runtime}"
    made.submit("training.rounds=1")
    version = RuntimeVersionHttpInterceptor(component_name="flwr-serverapp")
    executor = RuntimeHttpClient.from_server_address(address, True, None, [version])
    token = executor.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP])).token
    executor.close()
    interceptors = [version, RuntimeTokenHttpInterceptor(token)]
    client = RuntimeHttpClient.from_server_address(address, True, None, interceptors)
    task = client.PullTaskInput(PullTaskInputRequest())
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = task.task_id, task.run.run_id, 1
    heart = HeartbeatSender(make_task_heartbeat_fn_http(client))
    heart.start()
    grid = HttpGrid(address, insecure=True, token=token)
    grid.set_run(run_from_proto(task.run))
    try:
        yield grid
    finally:
        heart.stop()
        grid.close()
        client.close()


def database_bytes(folder: Path) -> int:
    """The database's file and what SQLite keeps beside it."""
    return sum(file.stat().st_size for file in folder.glob("superlink.db*"))


def models_in(folder: Path) -> int:
    """How many models, or updates as large, the object store holds."""
    database = sqlite3.connect(f"file:{folder / 'superlink.db'}?mode=ro", uri=True)
    try:
        query = "SELECT count(*) FROM objects WHERE length(content) >= ?"
        (count,) = database.execute(query, (4 * PARAMETERS,)).fetchone()
        return int(count)
    finally:
        database.close()


@dataclass(frozen=True)
class Outcome:
    """Bytes and models of the database by round, how many replies were used in all, and what came late."""

    bytes_after: dict[int, int]
    models_after: dict[int, int]
    answered: dict[int, int]  # by node: which answers at once, late and never
    late: Late


def measure(rounds: int, *, withdrawn: bool) -> Outcome:
    """Play so many rounds; without `withdrawn` as Flower's own grid leaves things."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        made = loopback(folder)
        options = ("--isolation", "process", "--database", folder / "superlink.db")
        stack.enter_context(made.superlink("superlink", *options))
        ends = [stack.enter_context(fleet_node(f"127.0.0.1:{made.fleet}")) for _ in range(3)]
        grid = stack.enter_context(server_app(made))
        late = Late(ends[1])
        stack.enter_context(at_work(Prompt(ends[0]), pause_seconds=TURN_SECONDS))
        stack.enter_context(at_work(late, pause_seconds=TURN_SECONDS))
        streaming = StreamingGrid(grid)
        if not withdrawn:
            streaming._channel = ReplyChannel(grid)
        sizes, models, answered = {}, {}, dict.fromkeys(range(3), 0)
        places = {end.node_id: place for place, end in enumerate(ends)}
        for number in range(1, rounds + 1):
            model = vector()
            asked = [Message(model, end.node_id, MessageType.TRAIN, ttl=DEADLINE_SECONDS) for end in ends]
            replies = streaming.send_and_receive(asked, timeout=DEADLINE_SECONDS)
            for reply in replies:
                if reply.has_content():
                    answered[places[reply.metadata.src_node_id]] += 1
            sizes[number], models[number] = database_bytes(folder), models_in(folder)
        return Outcome(sizes, models, answered, late)


def main() -> None:
    """Measure both and write the page."""
    kept, flower = measure(ROUNDS, withdrawn=True), measure(CONTROL_ROUNDS, withdrawn=False)
    model = 4 * PARAMETERS
    grown = (flower.bytes_after[CONTROL_ROUNDS] - flower.bytes_after[CONTROL_ROUNDS // 2]) / (
        CONTROL_ROUNDS // 2 * model
    )
    rows = [("database, MB after round", *map(str, sorted({CONTROL_ROUNDS, *LOOKS})))]
    for label, outcome in (("withdrawn", kept), ("Flower's calls alone", flower)):
        sizes = (outcome.bytes_after.get(number) for number in sorted({CONTROL_ROUNDS, *LOOKS}))
        rows.append((label, *("" if size is None else f"{size / 1e6:.2f}" for size in sizes)))
        counts = (outcome.models_after.get(number) for number in sorted({CONTROL_ROUNDS, *LOOKS}))
        rows.append((f"{label}: models in it", *("" if count is None else str(count) for count in counts)))
    ratios = [
        Ratio(
            name=f"database after {ROUNDS} rounds over after 20",
            value=kept.bytes_after[ROUNDS] / kept.bytes_after[20],
            at_most=1.1,
        ),
        Ratio(name="models a round that stay without withdrawal", value=grown),
    ]
    verdicts = ", ".join(
        f"{one.name}: {one.value:.3g}" + (f" ({one.goal}: {one.verdict})" if one.goal else "")
        for one in ratios
    )
    late = kept.late
    told = (
        f"In {ROUNDS} rounds the first node's reply was used {kept.answered[0]} times. The late node sent "
        f"{late.sent} replies, {late.before_the_end} of them before the end of their messages' time; the "
        f"SuperLink took {late.taken}, and {kept.answered[1]} were used. {kept.models_after[ROUNDS]} models "
        f"or updates were in the store after the last round."
    )
    parts = ["# What rounds leave in the SuperLink", conditions(), table(rows), f"{NOTES} {told}", verdicts]
    text = "\n\n".join(parts) + "."
    write(Path(__file__).with_suffix(".md"), text, ratios)


NOTES = f"""A real SuperLink with its database on disk (file, write-ahead log and index), {PARAMETERS:,}
parameters ({4 * PARAMETERS / 1e6:g} MB), three nodes in rounds of {DEADLINE_SECONDS:g} s: one answers at
once, one is connected and never fetches its message, one answers from {LATENESS_SECONDS:g} s before to
{LATENESS_SECONDS:g} s after the end of its message's time, evenly spread. "Withdrawn" is `StreamingGrid` as
it is; "Flower's calls alone" is the same without `strategies.superlink_replies`. A reply that the SuperLink
takes between the last look that it answers in time and the end of the message's time stays until the end of
the run, as no call names it any more (`strategies/superlink_replies.py`)."""

if __name__ == "__main__":
    main()
