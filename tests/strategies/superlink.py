"""A SuperLink in the test's own process: its real state and object store on a SQLite file, and its real
handlers, called without HTTP and gRPC between. Nodes have their turn whenever the ServerApp calls."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import httpx
from flwr.common.constant import NOOP_FLWR_AID
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import PullMessagesRequest, PushMessagesRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.server.superlink.fleet.message_handler import message_handler as fleet
from flwr.server.superlink.linkstate import LinkStateFactory
from flwr.supercore.constant import NOOP_FEDERATION_ID, TaskType
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.grid import HttpGrid
from flwr.superlink.servicer.runtime import runtime_handlers as runtime

from tests.fleet import NodeEnd


class Runtime:
    """The client of the Runtime API, as far as a grid uses it."""

    def __init__(self, superlink: SuperLink) -> None:
        self._superlink = superlink
        self._client = httpx.Client()

    def __getattr__(self, name: str):
        handler = {
            "PushMessages": runtime.push_messages,
            "PullMessages": runtime.pull_messages,
            "PushObject": runtime.push_object,
            "PullObject": runtime.pull_object,
            "ConfirmMessageReceived": runtime.confirm_message_received,
            "GetNodes": runtime.get_nodes,
        }[name]

        def call(request):
            if threading.current_thread() is threading.main_thread():  # not within two pulls at a time
                self._superlink.give_turns()
            return handler(request, self._superlink.state, self._superlink.task)

        return call


class SuperLink:
    """Everything of a SuperLink but its servers. `grid` is the ServerApp's."""

    def __init__(self, database: Path) -> None:
        objects = ObjectStoreFactory(str(database))
        self.state = LinkStateFactory(str(database), NoOpFederationManager(), objects).state()
        self.store = self.state.object_store
        self.run_id = self.state.create_run(
            None, None, None, {}, NOOP_FEDERATION_ID, None, NOOP_FLWR_AID, TaskType.SERVER_APP
        )
        (run,) = self.state.get_run_info(run_ids=[self.run_id])
        self.state.claim_task(run.primary_task_id)
        self.state.activate_task(run.primary_task_id)
        self.task = SimpleNamespace(run_id=self.run_id)
        self.turns: list[Callable[[], object]] = []
        self.runtime = Runtime(self)
        self.grid = HttpGrid(token="none")
        self.grid._client = self.runtime
        self.grid.set_run(run)

    def give_turns(self) -> None:
        for turn in self.turns:
            turn()

    def leftovers(self) -> tuple[int, int, int]:
        """How many objects, questions and replies there are."""
        return len(self.store), self.state.num_message_ins(), self.state.num_message_res()

    def node(self) -> NodeEnd:
        """A node that is registered and counts as alive."""
        node_id = self.state.create_node(NOOP_FLWR_AID, "none", secrets.token_bytes(32), 0)
        self.state.activate_node(node_id, 300.0)
        node, state = Node(node_id=node_id), self.state

        def receive():
            told = fleet.pull_messages(PullMessagesRequest(node=node), state, self.store)
            if not told.messages_list:
                return None
            return message_from_proto(told.messages_list[0]), told.message_object_trees[0]

        def send(message, tree, _):
            request = PushMessagesRequest(
                node=node, messages_list=[message_to_proto(message)], message_object_trees=[tree]
            )
            told = fleet.push_messages(request, state)
            return set(told.objects_to_push), told.session_id

        def pull_object(run_id, object_id):
            request = PullObjectRequest(node=node, run_id=run_id, object_id=object_id)
            return fleet.pull_object(request, state).object_content

        def push_object(run_id, session_id, object_id, content):
            request = PushObjectRequest(
                node=node, run_id=run_id, session_id=session_id, object_id=object_id, object_content=content
            )
            return fleet.push_object(request, state).stored

        def confirm(run_id, message_id):
            request = ConfirmMessageReceivedRequest(node=node, run_id=run_id, message_object_id=message_id)
            fleet.confirm_message_received(request, state, self.store)

        return NodeEnd(
            node_id=node_id,
            receive=receive,
            send=send,
            pull_object=pull_object,
            push_object=push_object,
            confirm=confirm,
        )
