"""A task in parts: the sum is that of the whole task, to the bit, and the refusals are."""

import itertools
import random
import threading
import weakref
from dataclasses import replace

import pytest
import torch
from flwr.app import Error, Message, MessageType, RecordDict

from client.simulation import divided as divided_module
from client.simulation.divided import DividedTask, divisible_speakers
from client.simulation.flower_seam import _with_content
from privacy import ReplyRejected, unpack
from tests.strategies.federation import BOUNDS, QUANTISER, answer_to
from tests.strategies.flower import act_as_task
from wire.messages import Answer, Task, pack_vector, problem

SPEAKERS = (7, 3, 5, 0, 11, 2, 9)

act_as_task()


def update_of(number):
    return torch.randn(BOUNDS.model_size, generator=torch.Generator().manual_seed(number))


def task_of(speakers, **changes):
    return Task(
        round_number=3,
        nonce="n",
        layout="l",
        speakers=speakers,
        bounds=BOUNDS,
        quantiser=QUANTISER,
        **changes,
    )


def message_of(speakers=SPEAKERS, **changes):
    vector = pack_vector(torch.zeros(BOUNDS.model_size))
    message = task_of(speakers, **changes).to_message(5, vector, 600.0)
    message.metadata.__dict__["_message_id"] = "asked"
    return message


def reply_to(message):
    """What a node answers."""
    task, _ = Task.from_message(message)
    return Message(answer_to(task, update_of).to_record(), reply_to=message)


def divided(cuts, reply=reply_to, seed=0):
    """The reply to a task in parts that end at `cuts`, which are answered in any order."""
    message, told = message_of(), []
    task = DividedTask(message, _with_content, lambda *told_now: told.append(told_now))
    bounds = [*itertools.pairwise([0, *cuts, len(SPEAKERS)])]
    parts = [task.part(begin, end) for begin, end in bounds]
    for _ in parts[1:]:
        task.divide()
    random.Random(seed).shuffle(parts)
    for part in parts:
        assert not told
        task.answered(reply(part), "the context")
    ((joined, context),) = told
    assert context == "the context" and joined.metadata.reply_to_message_id == "asked"
    assert joined.metadata.src_node_id == 5
    return joined


@pytest.mark.parametrize("cuts", [(), (1,), (3,), (2, 4), (1, 2, 3, 4, 5, 6)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_answer_is_that_of_the_whole_task_to_the_bit(cuts, seed):
    whole, joined = (Answer.from_message(one) for one in (reply_to(message_of()), divided(cuts, seed=seed)))
    assert bytes(joined.packed) == bytes(whole.packed)
    assert (joined.count, joined.nonce, joined.dataset) == (whole.count, whole.nonce, whole.dataset)


def test_a_part_is_a_task_of_the_same_node_for_its_speakers_alone():
    message = message_of(dataset="d", portion="p", frozen="f", run="r")
    part = DividedTask(message, _with_content, print).part(2, 5)
    assert vars(part.metadata) == vars(message.metadata)
    assert part.metadata.message_type == MessageType.TRAIN
    task, _ = Task.from_message(part)
    assert task == task_of(SPEAKERS[2:5], dataset="d", portion="p", frozen="f", run="r")
    assert part.content["model"] is message.content["model"]
    assert Task.from_message(message)[0].speakers == SPEAKERS


def says(content):
    return lambda part: Message(content, reply_to=part)


def of_another(part):
    """An answer for fewer speakers than the part's."""
    return reply_to(_with_content(part, message_of((1, 4)).content))


def of_another_cohort(part):
    message = message_of(tuple(Task.from_message(part)[0].speakers))
    message.content["task"]["nonce"] = "old"
    return reply_to(_with_content(part, message.content))


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (says(problem("not for this node")), "the node reports: not for this"),
        (says(Error(8, "it died")), "Flower error 8: it died"),
        (says(RecordDict()), "cannot be read"),
        (of_another, "ValueError"),
        (of_another_cohort, "ValueError"),
    ],
)
def test_a_part_without_a_sum_leaves_the_node_without_one(reply, told):
    def one_fails(part):
        return reply(part) if 11 in Task.from_message(part)[0].speakers else reply_to(part)

    with pytest.raises(ReplyRejected, match=told):
        Answer.from_message(divided((2, 5), one_fails))


def test_the_parts_own_sums_are_let_go_as_they_come():
    replies, told, message = [], [], message_of()
    task = DividedTask(message, _with_content, lambda *told_now: told.append(told_now))
    parts = [task.part(number, number + 1) for number in range(len(SPEAKERS))]
    for _ in parts[1:]:
        task.divide()
    for part in parts[:-1]:
        reply = reply_to(part)
        replies.append(weakref.ref(reply.content["sum"]["packed"]))
        task.answered(reply, "the context")
        del reply
        assert [one() for one in replies] == [None] * len(replies)
    assert not told


def test_a_part_is_divided_while_another_is_added(monkeypatch):
    """All workers wait for the one that divides."""
    adding, added = threading.Event(), threading.Event()

    def slow(*given):
        adding.set()
        assert added.wait(60)
        return unpack(*given)

    monkeypatch.setattr(divided_module, "unpack", slow)
    task = DividedTask(message_of(), _with_content, print)
    task.divide()
    reply = reply_to(task.part(0, 3))
    first = threading.Thread(target=task.answered, args=(reply, "the context"), daemon=True)
    first.start()
    assert adding.wait(10)
    divider = threading.Thread(target=task.divide, daemon=True)
    divider.start()
    divider.join(10)
    waits = divider.is_alive()
    added.set()
    first.join()
    assert not waits


@pytest.mark.parametrize("seed", [0, 1])
def test_a_part_of_other_data_than_was_registered_is_reported_whichever_comes_first(seed):
    def reply(part):
        task, _ = Task.from_message(part)
        other = replace(answer_to(task, update_of), dataset="other" if 11 in task.speakers else "")
        return Message(other.to_record(), reply_to=part)

    assert Answer.from_message(divided((3,), reply, seed)).dataset == "other"


def test_only_what_a_node_would_take_is_divided():
    assert divisible_speakers(message_of()) == len(SPEAKERS)
    assert divisible_speakers(message_of((3, 4, 3))) == 0  # a node refuses a speaker twice
    assert divisible_speakers(message_of(raw_metrics=True)) == 0  # sums of floats
    query = message_of()
    del query.content["task"]
    assert divisible_speakers(query) == 0
