"""What rounds leave in a SuperLink's database: `python -m benchmarks.object_store`.

A real SuperLink on SQLite, over HTTP and gRPC. This script is the ServerApp and three nodes: one answers, one
is connected and never fetches anything, one fetches and is ready from a second before to a second after a
round's deadline, and then does what our ClientApp does. The goal: the database after 200 rounds is that after
20. Beside it, in fewer rounds, are nodes that send their update however late it is, and what Flower's own
calls leave.
"""

from __future__ import annotations

import os
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
from client.punctuality import TOO_LATE, is_late
from strategies import StreamingGrid
from strategies.superlink_replies import ReplyChannel
from tests.fleet import NodeEnd, at_work, fleet_node
from tests.forged import honest
from tests.loopback import Loopback, loopback
from wire.deadlines import message_seconds, wait_seconds
from wire.messages import problem

PARAMETERS = 250_000
ROUNDS, LATE_ROUNDS, CONTROL_ROUNDS, LOOKS = 200, 100, 10, (10, 20, 50, 100, 200)
DEADLINE_SECONDS = 2.0
LATENESS_SECONDS = 1.0  # at most, before and after the moment around which a node is ready
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
    """A node that is ready around so many seconds after a question: now before, now after, evenly."""

    end: NodeEnd
    around: float
    punctual: bool = True  # sends no update after the deadline
    ready: int = 0
    sent: int = 0  # updates
    taken: int = 0  # by the SuperLink

    def turn(self) -> None:
        """What it has to do now."""
        if (question := self.end.fetch()) is None:
            return
        begun, asked = time.monotonic(), question.metadata
        update, excuse = honest(reply_to(question)), honest(Message(problem(TOO_LATE), reply_to=question))
        time.sleep(max(0.0, asked.created_at + self.around - time.time() + self._lateness()))
        self.ready += 1
        since_asked = time.time() - asked.created_at
        if self.punctual and is_late(time.monotonic() - begun, since_asked, DEADLINE_SECONDS):
            self.end.answer(question, excuse)
            return
        self.sent += 1
        self.taken += self.end.answer(question, update)

    def _lateness(self) -> float:
        return LATENESS_SECONDS * (2 * (GOLDEN * self.ready % 1) - 1)


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


def contents_of(folder: Path) -> tuple[int, int]:
    """How many models, or updates as large, the object store holds; bytes of the pages that are not free."""
    database = sqlite3.connect(f"file:{folder / 'superlink.db'}?mode=ro", uri=True)
    try:
        query = "SELECT count(*) FROM objects WHERE length(content) >= ?"
        (count,) = database.execute(query, (4 * PARAMETERS,)).fetchone()
        size, pages, free = (
            database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_size", "page_count", "freelist_count")
        )
        return int(count), int(size * (pages - free))
    finally:
        database.close()


@dataclass(frozen=True)
class Outcome:
    """The database by round, how many replies were used in all, and what came late."""

    bytes_after: dict[int, int]
    models_after: dict[int, int]
    used_after: dict[int, int]  # bytes of pages that are not free
    answered: dict[int, int]  # by node: which answers at once, late and never
    late: Late

    @property
    def rounds(self) -> int:
        """How many there were."""
        return max(self.bytes_after)


def measure(
    rounds: int, *, withdrawn: bool = True, punctual: bool = True, around: float = DEADLINE_SECONDS
) -> Outcome:
    """Play so many rounds; without `withdrawn` as Flower's own grid leaves things."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        made = loopback(folder)
        options = ("--isolation", "process", "--database", folder / "superlink.db")
        stack.enter_context(made.superlink("superlink", *options))
        ends = [stack.enter_context(fleet_node(f"127.0.0.1:{made.fleet}")) for _ in range(3)]
        grid = stack.enter_context(server_app(made))
        late = Late(ends[1], around, punctual)
        stack.enter_context(at_work(Prompt(ends[0]), pause_seconds=TURN_SECONDS))
        stack.enter_context(at_work(late, pause_seconds=TURN_SECONDS))
        streaming = StreamingGrid(grid)
        if not withdrawn:
            streaming._channel = ReplyChannel(grid)
        sizes, models, used, answered = {}, {}, {}, dict.fromkeys(range(3), 0)
        places = {end.node_id: place for place, end in enumerate(ends)}
        for number in range(1, rounds + 1):
            model = vector()
            ttl = message_seconds(DEADLINE_SECONDS)
            asked = [Message(model, end.node_id, MessageType.TRAIN, ttl=ttl) for end in ends]
            replies = streaming.send_and_receive(asked, timeout=wait_seconds(DEADLINE_SECONDS))
            for reply in replies:
                if reply.has_content() and "x" in reply.content:
                    answered[places[reply.metadata.src_node_id]] += 1
            sizes[number] = database_bytes(folder)
            models[number], used[number] = contents_of(folder)
        return Outcome(sizes, models, used, answered, late)


def main() -> None:
    """Measure all three and write the page."""
    begun_under, began = os.getloadavg()[0], time.monotonic()
    kept = measure(ROUNDS)
    late = measure(LATE_ROUNDS, punctual=False, around=wait_seconds(DEADLINE_SECONDS))
    flower = measure(CONTROL_ROUNDS, withdrawn=False)
    minutes, ended_under = (time.monotonic() - began) / 60, os.getloadavg()[0]
    rows = [("database, MB after round", *map(str, LOOKS))]
    measured = {
        "withdrawn": kept,
        "sent after the wait": late,
        "Flower's calls alone": flower,
    }
    for label, outcome in measured.items():
        for what, by_round in (("", outcome.bytes_after), (": in use", outcome.used_after)):
            sizes = (by_round.get(number) for number in LOOKS)
            rows.append((label + what, *("" if size is None else f"{size / 1e6:.2f}" for size in sizes)))
        counts = (outcome.models_after.get(number) for number in LOOKS)
        rows.append((f"{label}: models in it", *("" if count is None else str(count) for count in counts)))
    begun, ended = (flower.bytes_after[number] for number in (CONTROL_ROUNDS // 2, CONTROL_ROUNDS))
    ratios = [
        Ratio(
            name=f"database after {ROUNDS} rounds over after 20",
            value=kept.bytes_after[ROUNDS] / kept.bytes_after[20],
            at_most=1.1,
        ),
        Ratio(
            name=f"with updates sent after the wait, {LATE_ROUNDS} over 20",
            value=late.bytes_after[LATE_ROUNDS] / late.bytes_after[20],
        ),
        Ratio(
            name="models a round that stay without withdrawal",
            value=(ended - begun) / (CONTROL_ROUNDS // 2 * 4 * PARAMETERS),
        ),
    ]
    verdicts = ", ".join(
        f"{one.name}: {one.value:.4g}" + (f" ({one.goal}: {one.verdict})" if one.goal else "")
        for one in ratios
    )
    told = (
        f"{NOTES} Where late answers are kept back: {_told(kept)} Where they are sent after the wait: "
        f"{_told(late)}\n\n"
        f"The pages in use after round {ROUNDS} are {kept.used_after[ROUNDS] / kept.used_after[20]:.2f} "
        "times those after round 20; the rest is free pages and the log, which are as large as their busiest "
        "moment.\n\n"
        f"It took {minutes:.0f} minutes, with other work on the machine: load average {begun_under:.1f} on "
        f"{os.cpu_count()} cores as it began, {ended_under:.1f} as it ended."
    )
    parts = ["# What rounds leave in the SuperLink", conditions(), table(rows), told, verdicts]
    write(Path(__file__).with_suffix(".md"), "\n\n".join(parts) + ".", ratios)


def _told(outcome: Outcome) -> str:
    late = outcome.late
    return (
        f"in {outcome.rounds} rounds the first node's reply was used {outcome.answered[0]} times; the late "
        f"node was ready {late.ready} times and sent {late.sent} updates, of which the SuperLink took "
        f"{late.taken}, and {outcome.answered[1]} were used; {outcome.models_after[outcome.rounds]} models "
        "or updates were in the store after the last round."
    )


NOTES = f"""A real SuperLink with its database on disk (file, write-ahead log and index; "in use" are the
pages of the file that are not free: it never shrinks), {PARAMETERS:,} parameters
({4 * PARAMETERS / 1e6:g} MB), three nodes in rounds with a deadline of {DEADLINE_SECONDS:g} s: one
answers at once, one is connected and never fetches its message, one is ready from {LATENESS_SECONDS:g} s
before to {LATENESS_SECONDS:g} s after the deadline, evenly spread, and sends a few words instead of its
update where it is too late, as our ClientApp does (`client/punctuality.py`). "Withdrawn" is `StreamingGrid`
as it is. "Sent after the wait" is a node that sends its update however late it is: from
{LATENESS_SECONDS:g} s before to {LATENESS_SECONDS:g} s after the server stops waiting
({wait_seconds(DEADLINE_SECONDS):g} s). What
comes then is dropped while the next rounds' replies are awaited. Not measured is a node that means harm: what
it sends between the server's last look and the moment when the SuperLink forgets the question
({message_seconds(DEADLINE_SECONDS):g} s) stays until the end of the run, as no call names it any more
(`strategies/superlink_replies.py`): at most one reply, of any size, for each time that it is drawn.
"Flower's calls alone" is the first without `strategies.superlink_replies`."""

if __name__ == "__main__":
    main()
