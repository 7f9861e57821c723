"""What rounds leave in a SuperLink's database: `python -m benchmarks.object_store`.

A real SuperLink on SQLite, over HTTP and gRPC. This script is the ServerApp and three nodes: one answers, one
is connected and never fetches anything, one fetches and answers too late. The goal: the database after 200
rounds is that after 20. Beside it is what Flower's own calls leave, without withdrawal, in fewer rounds.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
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
ROUNDS, CONTROL_ROUNDS, LOOKS = 200, 40, (20, 50, 100, 200)
DEADLINE_SECONDS = 0.5
TURN_SECONDS = 0.02


@dataclass
class Nodes:
    """One node that answers at once, and one that answers when its message's time is over."""

    prompt: NodeEnd
    late: NodeEnd
    kept: list[tuple[float, Message]] = field(default_factory=list)
    late_replies: int = 0
    late_replies_taken: int = 0

    def turn(self) -> None:
        """What either has to do now."""
        if (question := self.prompt.fetch()) is not None:
            self.prompt.answer(question, honest(reply_to(question)))
        if (question := self.late.fetch()) is not None:
            self.kept.append((time.monotonic() + DEADLINE_SECONDS, question))
        while self.kept and self.kept[0][0] < time.monotonic():
            _, question = self.kept.pop(0)
            self.late_replies += 1
            self.late_replies_taken += self.late.answer(question, honest(reply_to(question)))


def vector() -> RecordDict:
    """A model, or an update: no two have a byte in common."""
    numbers = np.random.default_rng().standard_normal(PARAMETERS).astype(np.float32)
    return RecordDict({"x": ArrayRecord({"vector": Array(numbers)})})


def reply_to(question: Message) -> Message:
    """An update as large as the model."""
    return Message(vector(), reply_to=question)


@contextmanager
def at_work(nodes: Nodes) -> Iterator[None]:
    """Both nodes have their turn again and again."""
    over = Event()

    def work() -> None:
        while not over.wait(TURN_SECONDS):
            nodes.turn()

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
    """Bytes of the database by round, and what came late."""

    bytes_after: dict[int, int]
    late: int
    late_taken: int


def measure(rounds: int, *, withdrawn: bool) -> Outcome:
    """Play so many rounds; without `withdrawn` as Flower's own grid leaves things."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        made = loopback(folder)
        options = ("--isolation", "process", "--database", folder / "superlink.db")
        stack.enter_context(made.superlink("superlink", *options))
        prompt, late, absent = (stack.enter_context(fleet_node(f"127.0.0.1:{made.fleet}")) for _ in range(3))
        grid = stack.enter_context(server_app(made))
        nodes = Nodes(prompt, late)
        stack.enter_context(at_work(nodes))
        streaming = StreamingGrid(grid)
        if not withdrawn:
            streaming._mail = Mail(grid)
        sizes = {}
        for number in range(1, rounds + 1):
            model = vector()
            asked = [
                Message(model, end.node_id, MessageType.TRAIN, ttl=DEADLINE_SECONDS)
                for end in (prompt, late, absent)
            ]
            answered = sum(
                reply.has_content() for reply in streaming.send_and_receive(asked, timeout=DEADLINE_SECONDS)
            )
            if answered != 1:
                print(f"round {number}: {answered} nodes answered, expected was the prompt one")
            sizes[number] = database_bytes(folder)
        return Outcome(sizes, nodes.late_replies, nodes.late_replies_taken)


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
    late = f"{kept.late} replies came late in {ROUNDS} rounds; the SuperLink took {kept.late_taken} of them."
    parts = ["# What rounds leave in the SuperLink", conditions(), table(rows), f"{NOTES} {late}", verdicts]
    text = "\n\n".join(parts) + "."
    write(Path(__file__).with_suffix(".md"), text, ratios)


NOTES = f"""A real SuperLink with its database on disk (file, write-ahead log and index), {PARAMETERS:,}
parameters ({4 * PARAMETERS / 1e6:g} MB), three nodes in rounds of {DEADLINE_SECONDS:g} s: one answers, one is
connected and never fetches its message, one answers after its message's time. "Withdrawn" is `StreamingGrid`
as it is; "Flower's calls alone" is the same without `strategies.superlink`: the absent node's message stays,
and with it the model."""

if __name__ == "__main__":
    main()
