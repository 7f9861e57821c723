"""A registered node that sends a bomb: a reply of some kilobytes that asks for gigabytes.

As a program (`python -m tests.bomb_node SUPERLINK:PORT CA.CRT NODE.KEY HEALTH:PORT`) it says which node it
is, sends a bomb in its first round, and is silent from then on: connected, and asked in vain. A health check
finds it well, as a SuperNode's would.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.supercore.grpc_health.health_server import run_health_server_grpc_no_tls

from tests.fleet import NodeEnd, fleet_node
from tests.forged import Forged, bomb, honest
from tests.strategies.flower import AGREE
from wire.messages import VERSION
from wire.node_info import NodeInfo

PAUSE_SECONDS = 0.2


@dataclass(frozen=True)
class Bomb:
    """A reply, the reason for an error that comes with its announcement, and what becomes of it."""

    make: Callable[[Message], Forged]
    said: str
    reason: str = ""


REPEATED = Bomb(
    lambda question: bomb(question, chunk_bytes=300_000, repeats=20_000),
    "its arrays would take 6,000,000,000 bytes",
)


@dataclass
class Hostile:
    """Registers with the speakers it is given, agrees to the plan, and answers with its bomb."""

    end: NodeEnd
    bomb: Bomb
    node_info: NodeInfo
    sent: list[Forged] = field(default_factory=list)

    def turn(self) -> None:
        question = self.end.fetch()
        if question is None:
            return
        if question.metadata.message_type == AGREE:
            agreed = RecordDict({"answer": ConfigRecord({"version": VERSION})})
            self.end.answer(question, honest(Message(agreed, reply_to=question)))
        elif question.metadata.message_type == MessageType.QUERY:
            self.end.answer(question, honest(Message(self.node_info.to_record(), reply_to=question)))
        else:
            self.sent.append(self.bomb.make(question))
            self.end.answer(question, self.sent[-1], reason=self.bomb.reason)


def key_pair(file: Path) -> tuple[ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey]:
    """A node's key, as its SuperNode reads it."""
    key = load_ssh_private_key(file.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{file} holds no key of a node")
    return key, key.public_key()


def main() -> None:
    address, authority, key, health = sys.argv[1:]
    served = run_health_server_grpc_no_tls(health)
    held = NodeInfo(speakers=30, dataset="elsewhere", split="train", synthetic=True)
    with fleet_node(address, authority=Path(authority).read_bytes(), keys=key_pair(Path(key))) as end:
        hostile = Hostile(end, REPEATED, held)
        print(f"node {end.node_id} is connected", flush=True)
        while not hostile.sent:
            hostile.turn()
            time.sleep(PAUSE_SECONDS)
        print(f"node {end.node_id} sent its bomb, and is silent now", flush=True)
        served.wait_for_termination()


if __name__ == "__main__":
    main()
