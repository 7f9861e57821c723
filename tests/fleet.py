"""A node's end of a SuperLink in a test's own hands: it fetches, answers and is silent as the test says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from threading import Event, Thread
from typing import Any, Protocol

from flwr.app import Error, Message, RecordDict
from flwr.client.grpc_rere_client.connection import grpc_request_response
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    inflate_object_from_contents,
    pull_objects,
)
from flwr.supercore.retry import make_simple_grpc_retry_invoker

from tests.forged import Forged


@dataclass(frozen=True, kw_only=True)
class NodeEnd:
    """What a SuperNode does with its SuperLink, call by call."""

    node_id: int
    receive: Callable[[], tuple[Message, ObjectTree] | None]
    send: Callable[[Message, ObjectTree, float], tuple[set[str], str]]
    pull_object: Callable[[int, str], bytes]
    push_object: Callable[[int, str, str, bytes], Any]
    confirm: Callable[[int, str], Any]

    def fetch(self) -> Message | None:
        """The next message with its content, as a SuperNode and its ClientApp get it.

        None if there is none, or it was withdrawn before all of it was here.
        """
        received = self.receive()
        if received is None:
            return None
        envelope, tree = received
        run_id, message_id = envelope.metadata.run_id, envelope.metadata.message_id
        names = [one.object_id for one in iterate_object_tree(tree)]
        try:
            contents = pull_objects(names, partial(self.pull_object, run_id), initial_backoff=0.02)
        except ObjectPullError:
            return None
        self.confirm(run_id, message_id)
        message = inflate_object_from_contents(message_id, contents)
        message.metadata.__dict__["_message_id"] = message_id
        return message

    def answer(
        self, question: Message, forged: Forged, without: Collection[str] = (), reason: str = ""
    ) -> bool:
        """Send a reply, but for the objects `without`; returns whether the SuperLink wanted any of it.

        `reason` is that of an error which the envelope tells beside them.
        """
        envelope = Message(Error(2, reason) if reason else RecordDict(), reply_to=question)
        envelope.metadata.__dict__["_message_id"] = forged.object_id
        wanted, session = self.send(envelope, forged.tree(), 0.0)
        for object_id, content in forged.contents().items():
            if object_id in wanted and object_id not in without:
                with suppress(ObjectPushError):  # it was withdrawn meanwhile
                    self.push_object(question.metadata.run_id, session, object_id, content)
        return bool(wanted)


@contextmanager
def fleet_node(address: str, *, authority: bytes | None = None, keys: Any = None) -> Iterator[NodeEnd]:
    """A node that is alive, over gRPC: with its key pair, or registering itself where no keys are asked for.

    `authority` is the certificate that the SuperLink's must be signed by, where there is TLS.
    """
    connection = grpc_request_response(
        address,
        authority is None,
        make_simple_grpc_retry_invoker(),
        root_certificates=authority,
        authentication_keys=keys,
    )
    node_id, receive, send, _, _, pull_object, push_object, confirm = connection.__enter__()
    try:
        yield NodeEnd(
            node_id=node_id,
            receive=receive,
            send=send,
            pull_object=pull_object,
            push_object=push_object,
            confirm=confirm,
        )
    finally:
        connection.__exit__(None, None, None)  # it would log what the test raises, and swallow it


class Worker(Protocol):
    """Something that has work to do now and then."""

    def turn(self) -> None:
        """Do what there is to do now."""


@contextmanager
def at_work(*workers: Worker, pause_seconds: float) -> Iterator[None]:
    """They have their turns again and again, in a thread of their own."""
    over = Event()

    def work() -> None:
        while not over.wait(pause_seconds):
            for one in workers:
                one.turn()

    thread = Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
