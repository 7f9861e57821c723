"""What rounds leave in a SuperLink's database: `python -m benchmarks.object_store`.

A real SuperLink on SQLite, over HTTP and gRPC. This script is the ServerApp and three nodes: one answers, one
is connected and never fetches anything, one fetches and answers at the end of its time or too late. The goal:
the database after 200 rounds is that after 20. Beside it is what Flower's own calls leave in fewer rounds.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

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
from strategies.superlink import Mail
from tests.fleet import NodeEnd, fleet_node
from tests.forged import honest
from tests.loopback import Loopback, loopback

PARAMETERS = 250_000
ROUNDS, CONTROL_ROUNDS, LOOKS = 200, 20, (20, 50, 100, 200)
DEADLINE_SECONDS = 0.8
LATENESS_SECONDS = (0.2, -0.5, 0.3)  # in turn, from the end of their time
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
    """A node that answers when its message's time is over, or nearly so: now before, now after."""

    end: NodeEnd
    sent: int = 0
    taken: int = 0

    def turn(self) -> None:
        """What it has to do now."""
        if (question := self.end.fetch()) is None:
            return
        reply = honest(reply_to(question))
        left = question.metadata.created_at + question.metadata.ttl - time.time()
        time.sleep(max(0.0, left + LATENESS_SECONDS[self.sent % len(LATENESS_SECONDS)]))
        self.sent += 1
        self.taken += self.end.answer(question, reply)


def vector() -> RecordDict:
    """A model, or an update: no two have a byte in common."""
    numbers = np.random.default_rng().standard_normal(PARAMETERS).astype(np.float32)
    return RecordDict({"x": ArrayRecord({"vector": Array(numbers)})})


def reply_to(question: Message) -> Message:
    """An update as large as the model."""
    return Message(vector(), reply_to=question)


@contextmanager
def at_work(node: Prompt | Late) -> Iterator[None]:
    """The node has its turn again and again, in a thread of its own."""
    over = Event()

    def work() -> None:
        while not over.wait(TURN_SECONDS):
            node.turn()

    thread = Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


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


@dataclass(frozen=True)
class Outcome:
    """Bytes of the database by round, how many replies were taken in all, and what came late."""

    bytes_after: dict[int, int]
    answered: int
    late: int
    late_taken: int


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
        stack.enter_context(at_work(Prompt(ends[0])))
        stack.enter_context(at_work(late))
        streaming = StreamingGrid(grid)
        if not withdrawn:
            streaming._mail = Mail(grid)
        sizes, answered = {}, 0
        for number in range(1, rounds + 1):
            model = vector()
            asked = [Message(model, end.node_id, MessageType.TRAIN, ttl=DEADLINE_SECONDS) for end in ends]
            replies = streaming.send_and_receive(asked, timeout=DEADLINE_SECONDS)
            answered += sum(reply.has_content() for reply in replies)
            sizes[number] = database_bytes(folder)
        return Outcome(sizes, answered, late.sent, late.taken)


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
    ratios = [
        Ratio(
            name="database after 200 rounds over after 20",
            value=kept.bytes_after[ROUNDS] / kept.bytes_after[20],
            at_most=1.1,
        ),
        Ratio(name="models a round that stay without withdrawal", value=grown),
    ]
    verdicts = ", ".join(
        f"{one.name}: {one.value:.3g}" + (f" ({one.goal}: {one.verdict})" if one.goal else "")
        for one in ratios
    )
    late = (
        f"In {ROUNDS} rounds {kept.answered} replies were in time; {kept.late} were sent around the end of "
        f"their time or after it, of which the SuperLink took {kept.late_taken}."
    )
    parts = ["# What rounds leave in the SuperLink", conditions(), table(rows), f"{NOTES} {late}", verdicts]
    text = "\n\n".join(parts) + "."
    write(Path(__file__).with_suffix(".md"), text, ratios)


NOTES = f"""A real SuperLink with its database on disk (file, write-ahead log and index), {PARAMETERS:,}
parameters ({4 * PARAMETERS / 1e6:g} MB), three nodes in rounds of {DEADLINE_SECONDS:g} s: one answers, one is
connected and never fetches its message, one answers well before the end of its message's time or after it.
"Withdrawn" is `StreamingGrid` as it is; "Flower's calls alone" is the same without `strategies.superlink`:
the absent node's message stays, and with it the model. What is left: a reply that comes between the last look
and the end of its time (0.2 s) stays until the end of the run."""

if __name__ == "__main__":
    main()
