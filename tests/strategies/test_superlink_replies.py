"""Replies and silence through a SuperLink's real state and object store, on SQLite."""

import time
from contextlib import suppress
from functools import partial
from shutil import copytree

import pytest
import torch
from flwr.app import Error, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from privacy import packed_bytes
from strategies import StreamingGrid
from strategies.streaming import _Times
from strategies.superlink_replies import SuperLinkChannel
from tests.forged import Forged, array, bomb, chunk, config, honest, reply, with_array
from tests.strategies.federation import BOUNDS, LAYOUT, QUANTISER, answer_to, make_strategy
from tests.strategies.superlink import SuperLink
from wire.allowances import REGISTRATION, reply_allowance
from wire.deadlines import wait_seconds
from wire.inflation import InflationRefused
from wire.messages import Task, pack_vector
from wire.node_info import MOST_TOKENS, NodeInfo

TINY_NOISE = 1e-3
TTL = 6.0  # of a message with a late reply, in seconds: enough on a machine that does much else


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A folder with a SuperLink's database as it is after its first start, which takes seconds."""
    folder = tmp_path_factory.mktemp("superlink")
    SuperLink(folder / "superlink.db")
    honest_reply(task_message(1))  # compiles what clips and packs: no round is to wait for it
    return folder


@pytest.fixture
def superlink(tmp_path, empty, monkeypatch):
    copytree(empty, tmp_path / "superlink")
    made = SuperLink(tmp_path / "superlink" / "superlink.db")
    monkeypatch.setattr(TaskIdentity, "_run_id", made.run_id)
    return made


def task_message(node_id: int, ttl: float = 60.0) -> Message:
    task = Task(
        round_number=1, nonce="n", layout=LAYOUT.digest, speakers=(0,), bounds=BOUNDS, quantiser=QUANTISER
    )
    return task.to_message(node_id, pack_vector(torch.zeros(LAYOUT.size)), ttl)


def honest_reply(question: Message, update: float = 0.0) -> Forged:
    task, vector = Task.from_message(question)
    content = answer_to(task, lambda number: torch.full((vector.numel(),), update)).to_record()
    return honest(Message(content, reply_to=question))


def answering(node, make=honest_reply, without=lambda forged: ()):
    """A node that answers each question at its next turn: `make` says with what, `without` what it keeps."""

    def turn():
        if (question := node.fetch()) is not None:
            forged = make(question)
            node.answer(question, forged, without(forged))

    return turn


def chunks_of(forged: Forged) -> list[str]:
    return [name for name, content in forged.contents().items() if content.startswith(b"ArrayChunk ")]


def federate(superlink, folder, counts, rounds=1, deadline=60.0):
    """Rounds of a strategy over the SuperLink's grid; returns the strategy."""
    strategy = make_strategy(folder, counts, z=TINY_NOISE, rounds=rounds)
    strategy.round_deadline_seconds = deadline
    grid, timeout = StreamingGrid(superlink.grid), wait_seconds(deadline)
    strategy.start(grid, strategy.arrays(), num_rounds=rounds, timeout=timeout)
    return strategy


BOMBS = {
    "a repeated chunk": lambda q: bomb(q, chunk_bytes=1_000, repeats=20_000),
    "an array of arrays": lambda q: with_array(q, array([array([chunk(b"x")], [0] * 999)], [0] * 999)),
    "a long list": lambda q: reply(q, {"answer": config(numbers=list(range(100_000)))}),
    "a long error": lambda q: honest(Message(Error(2, "x" * 1_000_000), reply_to=q)),
    "many objects": lambda q: reply(q, {str(i): config(number=i) for i in range(100)}),
    "more than asked": lambda q: with_array(q, array([chunk(bytes(range(256)) * 1000)])),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_left_out_by_name_and_the_round_goes_on(superlink, tmp_path, name):
    one, other = superlink.node(), superlink.node()
    superlink.turns += [answering(one), answering(other, BOMBS[name])]
    strategy = federate(superlink, tmp_path, {one.node_id: 1, other.node_id: 1})
    (drop,) = strategy.last_report.dropped
    assert (drop.node, drop.refused) == (other.node_id, True)
    assert drop.reason.startswith("the reply is refused: it")
    assert strategy.last_report.nodes_answered == 1
    assert superlink.leftovers() == (0, 0, 0)


def test_a_node_that_never_fetches_its_message_leaves_nothing_behind(superlink, tmp_path):
    present, absent = superlink.node(), superlink.node()
    superlink.turns.append(answering(present))
    strategy = federate(superlink, tmp_path, {present.node_id: 1, absent.node_id: 1}, rounds=2, deadline=2.0)
    (drop,) = strategy.last_report.dropped
    assert (drop.node, drop.reason) == (absent.node_id, "no reply before the deadline")
    objects, questions, replies = superlink.leftovers()
    assert (objects, replies) == (0, 0)
    assert questions <= 2  # the last rounds': they are asked about in later ones until their time is over
    assert absent.fetch() is None  # and nothing is left to be trained in vain


def test_without_withdrawal_a_model_is_left_in_every_round(superlink, tmp_path, monkeypatch):
    """The control: what Flower does by itself."""
    monkeypatch.setattr(SuperLinkChannel, "withdraw", lambda self, message_ids: None)
    present, absent = superlink.node(), superlink.node()
    superlink.turns.append(answering(present))
    federate(superlink, tmp_path, {present.node_id: 1, absent.node_id: 1}, rounds=3, deadline=1.0)
    assert superlink.leftovers()[0] >= 3 * 5  # of message, record dict, records, array and chunk


@pytest.mark.parametrize(("known", "taken"), [(60.0, True), (0.0, False)])
def test_a_late_reply_leaves_nothing_behind(superlink, tmp_path, monkeypatch, known, taken):
    """A node that minds no deadline sends it rounds later: the SuperLink still takes it, or refuses it."""
    monkeypatch.setattr("wire.deadlines.LEAST_KNOWN_SECONDS", known)
    later = 3
    present, late = superlink.node(), superlink.node()
    kept, wanted = [], []

    def turn():
        if (question := late.fetch()) is not None:
            kept.append(question)
            if len(kept) > later:
                old = kept[-1 - later]
                wanted.append(late.answer(old, honest_reply(old, update=1e-3)))

    superlink.turns += [answering(present), turn]
    federate(superlink, tmp_path, {present.node_id: 1, late.node_id: 1}, rounds=5, deadline=1.0)
    assert set(wanted) == {taken}  # one or two of them, as the node comes to its questions
    objects, questions, replies = superlink.leftovers()
    assert (objects, replies) == (0, 0)
    assert questions <= later


def asked(superlink, node, ttl=60.0):
    """A message to `node`, which has fetched it; its id."""
    (message_id,) = superlink.grid.push_messages([task_message(node.node_id, ttl)])
    return message_id, node.fetch()


def test_a_reply_that_is_there_at_the_last_look_is_taken_and_a_later_one_is_not_kept(superlink):
    """The message's time is not over when the grid stops waiting: a reply can still reach the SuperLink."""
    one, other = superlink.node(), superlink.node()
    mail = SuperLinkChannel(superlink.grid)
    (first, question), (second, unanswered) = asked(superlink, one), asked(superlink, other)
    one.answer(question, honest_reply(question))
    allowances = dict.fromkeys((first, second), reply_allowance(question))
    assert mail.last_look(allowances) == [first]
    assert mail.pull(first, allowances[first])
    mail.withdraw([second])
    assert superlink.leftovers() == (0, 1, 0)
    assert other.answer(unanswered, honest_reply(unanswered))  # late, and the SuperLink takes it
    assert superlink.leftovers()[0] > 0
    mail.withdraw([])
    assert superlink.leftovers() == (0, 0, 0)


def test_a_late_reply_is_dropped_while_the_next_rounds_are_awaited(superlink):
    """The SuperLink takes it, as its message's time is not over; it goes before that time is."""
    late, present = superlink.node(), superlink.node()
    grid = StreamingGrid(superlink.grid)
    (_, question), seen = asked(superlink, late), []
    grid._channel.withdraw([question.metadata.message_id])
    assert late.answer(question, honest_reply(question, update=1e-3))

    def turn():
        seen.append(superlink.state.num_message_res())
        if seen[-1] == 0 and (asked_now := present.fetch()) is not None:
            present.answer(asked_now, honest_reply(asked_now))

    superlink.turns.append(turn)
    (reply,) = grid.send_and_receive([task_message(present.node_id)], timeout=30.0)
    assert seen[0] == 1  # it was there as the round began
    assert reply.metadata.src_node_id == present.node_id
    del reply
    assert superlink.leftovers()[0] == 0


def test_a_reply_that_comes_after_the_first_of_the_last_looks_is_taken(superlink):
    """Looks follow one another until the message's time is over, and the last finds the other's forgotten."""
    late, silent = superlink.node(), superlink.node()
    mail = SuperLinkChannel(superlink.grid)
    (second, _), (first, question) = asked(superlink, silent, ttl=TTL), asked(superlink, late, ttl=TTL)
    answer = honest_reply(question)
    allowances = dict.fromkeys((first, second), reply_allowance(question))
    begin = time.monotonic()
    end = begin + question.metadata.created_at + TTL - time.time()
    left = []

    def turn():
        if not left and time.monotonic() > begin + 0.6 * (end - begin):
            left.append(end - time.monotonic())
            late.answer(question, answer)

    superlink.turns.append(turn)
    assert mail.last_look(allowances, end) == [first]  # and not the other, whose time is over
    assert left[0] > 0
    assert mail.pull(first, allowances[first])
    mail.withdraw([second])
    assert superlink.leftovers() == (0, 0, 0)  # not even a question to be asked about again


def test_last_looks_begin_sooner_where_they_take_longer():
    few, many = ([task_message(1)] * count for count in (50, 120))
    assert _Times.of(few).looks == pytest.approx(0.2)
    assert _Times.of(many).looks == pytest.approx(0.6)
    assert _Times.of([task_message(1, ttl=0.4)]).looks == pytest.approx(0.1)
    times = _Times.of([task_message(1, ttl=20.0), task_message(1, ttl=40.0)])
    assert 15 < times.first < 20 < 35 < times.last < 40


def test_many_are_looked_at_for_the_last_time_in_few_calls(superlink, monkeypatch):
    monkeypatch.setattr("strategies.superlink_replies.AT_ONCE", 3)
    nodes = [superlink.node() for _ in range(7)]
    mail = SuperLinkChannel(superlink.grid)
    questions = dict(asked(superlink, node) for node in nodes)
    for node, question in zip(nodes, questions.values(), strict=True):
        node.answer(question, bomb(question, chunk_bytes=10, repeats=10_000) if node is nodes[4] else
                    honest_reply(question))  # fmt: skip
    allowances = {one: reply_allowance(question) for one, question in questions.items()}
    assert mail.last_look(allowances) == list(questions)
    taken = []
    for one in questions:
        with suppress(InflationRefused):
            taken += mail.pull(one, allowances[one])
    assert len(taken) == 6
    assert superlink.leftovers() == (0, 0, 0)


def test_a_reply_that_is_never_completed_holds_nobody_up(superlink, tmp_path):
    """A node announces a reply and keeps back one object: Flower's own grid would wait for it for an hour."""
    present, slow = superlink.node(), superlink.node()
    unlike = partial(honest_reply, update=1e-3)  # or the other's push would complete it: the store is shared
    superlink.turns += [answering(slow, unlike, without=chunks_of), answering(present)]
    began = time.monotonic()
    strategy = federate(superlink, tmp_path, {slow.node_id: 1, present.node_id: 1}, deadline=2.0)
    assert time.monotonic() - began < 60  # and not an hour, however busy the machine
    (drop,) = strategy.last_report.dropped
    assert (drop.node, drop.reason) == (slow.node_id, "no reply before the deadline")
    assert strategy.last_report.nodes_answered == 1
    assert superlink.leftovers() == (0, 0, 0)


def test_a_reply_that_comes_in_pieces_is_taken_when_it_is_complete(superlink, tmp_path):
    node = superlink.node()
    sent, left = [], []

    def turn():
        if (question := node.fetch()) is not None:
            forged = honest_reply(question)
            contents = forged.contents()
            node.answer(question, forged, without=contents)  # announced, and nothing of it sent
            left.extend(contents.items())
        elif left:
            node.push_object(superlink.run_id, "", *left.pop())  # the message itself first
            sent.append(len(left))

    superlink.turns.append(turn)
    strategy = federate(superlink, tmp_path, {node.node_id: 1})
    assert strategy.last_report.nodes_answered == 1
    assert sent == [5, 4, 3, 2, 1, 0]
    assert superlink.leftovers() == (0, 0, 0)


def test_an_error_of_the_superlinks_own_leaves_nothing_behind(superlink, tmp_path):
    """A node goes offline: the SuperLink answers for it, and its message would stay."""
    present, gone = superlink.node(), superlink.node()
    superlink.turns += [answering(present), lambda: superlink.state.deactivate_node(gone.node_id)]
    strategy = federate(superlink, tmp_path, {present.node_id: 1, gone.node_id: 1})
    (drop,) = strategy.last_report.dropped
    assert (drop.node, drop.refused) == (gone.node_id, False)
    assert drop.reason.startswith("Flower error 5: Error: Node Unavailable")
    assert superlink.leftovers() == (0, 0, 0)


def test_a_reply_that_names_no_object_of_its_own_is_no_reply(superlink, tmp_path):
    """Its message id is that of the model, which all nodes know: nothing of anybody's is deleted for it."""
    one, other = superlink.node(), superlink.node()

    def turn():
        if (received := other.receive()) is not None:
            envelope, tree = received
            (record_dict,) = tree.children
            model = next(child for child in record_dict.children if child.children)
            answer = Message(RecordDict(), reply_to=envelope)
            answer.metadata.__dict__["_message_id"] = model.object_id
            other.send(answer, model, 0.0)

    superlink.turns += [turn, answering(one)]
    strategy = federate(superlink, tmp_path, {one.node_id: 1, other.node_id: 1})
    (drop,) = strategy.last_report.dropped
    assert (drop.node, drop.refused) == (other.node_id, True)
    assert strategy.last_report.nodes_answered == 1
    assert superlink.leftovers() == (0, 0, 0)


def test_a_reply_may_be_as_large_as_what_was_asked_and_no_larger():
    message = task_message(1)
    allowance = reply_allowance(message)
    packed = packed_bytes(1, BOUNDS, QUANTISER)
    assert packed < allowance.array_bytes <= packed + 5000
    forged = honest_reply(message)
    assert sum(map(len, forged.contents().values())) <= allowance.travelling_bytes
    assert len(forged.contents()) <= allowance.objects


def test_registration_has_room_for_the_most_tokens_and_no_array():
    tokens = bytes(range(256)) * (16 * MOST_TOKENS // 256)
    message = Message(NodeInfo(speakers=1, dataset="d", split="s").to_record(), 1, "query")
    message.content["answer"]["tokens"] = tokens
    most = sum(map(len, honest(Message(message.content, reply_to=message)).contents().values()))
    assert most < REGISTRATION.other_bytes
    assert REGISTRATION.array_bytes == 0
