"""What a server may have a node's ClientApp take: Flower's own steps, with a message made by hand."""

import subprocess
import sys

import httpx
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.common.serde import context_to_proto, fab_to_proto, message_to_proto, run_to_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedResponse, PullObjectResponse
from flwr.proto.runtime_pb2 import PullAppMessagesResponse, PullTaskInputResponse
from flwr.supercore.fab import Fab
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.runtime import run_clientapp

from cli.approval.bounded_messages import bound_messages, inflation
from tests.forged import Forged, array, as_message, chunk, config, honest, named

STEPS = ("pull_task_input", "pull_and_inflate_object_from_tree", "install_from_fab")


class Client:
    """The Runtime API's client of a ClientApp whose SuperNode has fetched `forged`."""

    def __init__(self, forged: Forged) -> None:
        self.forged = forged
        self.confirmed: list[str] = []
        self._client = httpx.Client()

    def PullTaskInput(self, request):
        context = Context(1, 2, {}, RecordDict(), {})
        return PullTaskInputResponse(
            context=context_to_proto(context),
            run=run_to_proto(Run.create_empty(1)),
            fab=fab_to_proto(Fab("", b"bundle", {})),
        )

    def PullMessages(self, request):
        envelope = message_to_proto(Message(RecordDict(), 2, MessageType.TRAIN))
        return PullAppMessagesResponse(messages_list=[envelope], message_object_trees=[self.forged.tree()])

    def PullObject(self, request):
        content = self.forged.contents()[request.object_id]
        return PullObjectResponse(object_found=True, object_available=True, object_content=content)

    def ConfirmMessageReceived(self, request):
        self.confirmed.append(request.message_object_id)
        return ConfirmMessageReceivedResponse()


@pytest.fixture
def bounded(monkeypatch):
    """Flower's module with messages of some thousand parameters; what it installed."""
    for name in ("_task_id", "_run_id", "_node_id"):  # which the steps set for their process
        monkeypatch.setattr(TaskIdentity, name, getattr(TaskIdentity, name))
    for step in STEPS:
        monkeypatch.setattr(run_clientapp, step, getattr(run_clientapp, step))
    installed: list[bytes] = []
    monkeypatch.setattr(run_clientapp, "install_from_fab", lambda content, **_: installed.append(content))
    bound_messages(inflation().Allowance.of_model(1000))
    return installed


def task_with(one: Forged) -> Forged:
    question = Message(RecordDict(), 2, MessageType.TRAIN)
    records = {"model": named("ArrayRecord", {"vector": one}), "task": config(version=5)}
    return as_message(question, named("RecordDict", records))


def test_an_honest_message_comes_through(bounded):
    model = ArrayRecord({"vector": Array(np.arange(1000, dtype=np.float32))})
    client = Client(honest(Message(RecordDict({"model": model}), 2, MessageType.TRAIN)))
    message, *_ = run_clientapp.pull_task_input(client)
    assert message.content["model"]["vector"].numpy()[-1] == 999
    assert message.metadata.message_id == client.forged.object_id
    assert client.confirmed == [client.forged.object_id]
    run_clientapp.install_from_fab(b"bundle", skip_prompt=True)
    assert bounded == [b"bundle"]


class SlowClient(Client):
    """The same where no object has come yet when its message is announced: it is there at the second try."""

    def __init__(self, forged: Forged) -> None:
        super().__init__(forged)
        self.asked: set[str] = set()

    def PullObject(self, request):
        if request.object_id in self.asked:
            return super().PullObject(request)
        self.asked.add(request.object_id)
        return PullObjectResponse(object_found=True, object_available=False)


def test_a_message_whose_objects_come_late_is_waited_for(bounded):
    client = SlowClient(
        honest(Message(RecordDict({"task": ConfigRecord({"version": 5})}), 2, MessageType.TRAIN))
    )
    message, *_ = run_clientapp.pull_task_input(client)
    assert message.content["task"]["version"] == 5
    assert client.asked == set(client.forged.contents())


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (
            array([chunk(bytes(10_000))], [0] * 10**5),
            "take 1,000,000,000 bytes, at most 16,192 were asked",
        ),
        (array([chunk(b"x" * 2_000_000)]), "its objects have more than"),
        (array([chunk(b"x")], shape=[1] * 351_000), "bytes beside its arrays"),
        (array([chunk(bytes([number])) for number in range(100)]), "more than 64 objects"),
    ],
)
def test_a_servers_bomb_is_answered_with_words_and_no_app_is_installed(bounded, one, said):
    client = Client(task_with(one))
    message, *_ = run_clientapp.pull_task_input(client)
    assert not message.content
    assert client.confirmed == [client.forged.object_id]
    with pytest.raises(ValueError, match=said):
        run_clientapp.install_from_fab(b"bundle", skip_prompt=True)
    assert bounded == []
    assert Message(RecordDict(), reply_to=message).metadata.reply_to_message_id == client.forged.object_id


def test_a_flower_without_these_steps_is_refused():
    with pytest.raises(AttributeError, match="pull_task_input"):
        bound_messages(inflation().Allowance(array_bytes=0), flower=sys)


def test_nothing_that_an_app_brings_is_imported_before_the_app():
    code = (
        "import sys\nfrom cli.approval.bounded_messages import bound_messages, inflation\n"
        "bound_messages(inflation().Allowance.of_model(10))\n"
        "app = {'client', 'privacy', 'recipes', 'server', 'speech', 'strategies', 'torch'}\n"
        "sys.exit(', '.join(app & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
