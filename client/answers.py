"""A node's answers: at registration, to the server's declaration of a plan, and to a task.

Exceptions end here. Flower would send an exception's text to the server, and that text can quote a
transcript, a speaker or a path. So a reply has our own words about the settings of the run, or else only the
type of the error; the details stay in this node's own log. (A simulation has no speech but the run's.)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache, wraps
from threading import Thread

from flwr.app import ConfigRecord, Context, Message, RecordDict

from client.node import Node
from client.node_speech import NodeSpeech, is_simulated
from client.own_settings import OwnSettingError
from client.policy.limits import NodePolicy
from client.punctuality import punctual
from client.state import departure_counts, registered_speakers
from privacy.kernels import load_compiler
from recipes import ConfigError, RunConfig
from speech.errors import SpeechError
from wire.declared_plan import DeclaredPlan
from wire.messages import MODEL, VERSION, Answer, Task, problem
from wire.records import read_record

log = logging.getLogger("murmuration.client")

AT_FAULT = "its speech or its seed model cannot be used ({}): see its own log, or run `murmur doctor` there"

Handler = Callable[[Message, Context], RecordDict]


def sanitised(handler: Handler) -> Callable[[Message, Context], Message]:
    """Turn whatever `handler` raises into a reply that contains nothing of the speech."""

    @wraps(handler)
    def answer(message: Message, context: Context) -> Message:
        try:
            content = handler(message, context)
        except OwnSettingError as error:
            log.error("the node's own settings are at fault: %s", error)
            content = problem(error.told)
        except ConfigError as error:
            log.error("the node's set-up is at fault: %s", error)
            content = problem(str(error))
        except SpeechError as error:
            log.error("the node's speech, or a model beside it, is at fault: %s", error)
            full = is_simulated(context.node_config)
            content = problem(str(error) if full else AT_FAULT.format(type(error).__name__))
        except Exception as error:  # between the data and the server: nothing else may pass
            log.exception("a message could not be answered")
            content = problem(f"{type(error).__name__} (details are in the node's own log)")
        return Message(content, reply_to=message)

    return answer


def node_of(context: Context) -> Node:
    """This process's node. What it loads is cached, because Ray's workers live for the whole run."""
    config = RunConfig.from_flat(context.run_config)
    return Node.of(config, dict(context.node_config))


@cache
def _make_ready() -> None:
    """Load what this worker's first task needs, once for all its nodes, before that task comes."""
    Thread(target=load_compiler, daemon=True).start()


@sanitised
def query(message: Message, context: Context) -> RecordDict:
    """Report how many usable speakers this node has, and of which data set.

    It raises if the node has another frozen model than the server.
    """
    node, asked = node_of(context), read_record(message.content, "query", ConfigRecord)
    node.rules.require_frozen(str(asked.get("frozen", "")))
    node.require_time()
    run = str(asked.get("run", ""))
    left = _left_at_start(context, node, run) if asked.get("resumed") else node.held.left
    counted = node.held.without_first(left)
    node_info = node.held.info(counted)
    if node.simulated:
        _make_ready()
    if node.held.anybody_left or not node.simulated:
        registered_speakers.keep(context.state, node.held.part, counted)
        departure_counts.note(context.node_config, context.run_id, context.node_id, left)
        if run:
            departure_counts.note(context.node_config, run, node.held.part, left)
    return node_info.to_record()


def _left_at_start(context: Context, node: Node, run: str) -> int:
    """How many speakers had left when the resumed run began; if that is not known, all who have left now."""
    noted = departure_counts.noted(context.node_config, run, node.held.part)
    if noted is None:  # a simulation notes only that somebody had left
        return 0 if node.simulated else node.held.left
    return min(noted, node.held.left)


def _called(context: Context, node: Node, task: Task) -> Sequence[str]:
    """The speakers by the server's numbers; the task has what this node reported at registration."""
    registered = f"{task.dataset or node.dataset} {task.portion or node.held.portion}"
    some_left = node.held.anybody_left
    if registered == node.held.part and not registered_speakers.knows(context.state, registered):
        left = departure_counts.noted(context.node_config, context.run_id, context.node_id)
        if left is not None and left > node.held.left and not node.simulated:  # a line of the record is gone
            some_left = True
        elif some_left and (left is not None or node.simulated):  # without a note nobody of a part had left
            return node.held.departures.without(node.held.everybody, first=left or 0)
    return registered_speakers.called(
        context.state, registered, node.held.part, node.speakers, some_left=some_left
    )


@sanitised
def declare(message: Message, context: Context) -> RecordDict:
    """Agree to train for the declared plan, or raise. It reads no speech and starts no process."""
    config, node_config = RunConfig.from_flat(context.run_config), dict(context.node_config)
    policy = NodePolicy.for_run(config, NodeSpeech.of(config.corpus, node_config), node_config)
    policy.require_plan(DeclaredPlan.in_content(message.content), config)
    return RecordDict({"answer": ConfigRecord({"version": VERSION})})


@sanitised
@punctual
def train(message: Message, context: Context) -> RecordDict:
    """Return the sum of the drawn speakers' clipped updates."""
    task, vector = Task.from_message(message)
    node = node_of(context)
    speakers = _called(context, node, task)
    exchange = node.exchange(message.content, context.state, speakers)
    node.load(task, vector)
    del vector, message.content[MODEL]  # Flower keeps the message until it is answered
    total, raw = node.train(task, speakers, exchange)
    content = Answer.of(task, total, raw, node.dataset if task.dataset else None).to_record()
    if exchange is not None:
        content.update(exchange.to_records())
    return content
