"""A node's answers: at registration, to the server's declaration of a plan, and to a task.

Exceptions end here. Flower would send an exception's text to the server, and that text can quote a
transcript, a speaker or a path. So a reply has our own words about the settings of the run, or else only the
type of the error; the details stay in this node's own log. (A simulation has no speech but the run's.)
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache, lru_cache, wraps
from threading import Thread
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict

from client import hosting
from client.hosting import hosts_nodes
from client.node import Node
from client.node_speech import NodeSpeech, is_simulated
from client.own_settings import OwnSettingError
from client.policy.limits import NodePolicy
from client.punctuality import punctual
from client.registration import called, register
from privacy.kernels import load_compiler
from recipes import ConfigError, RunConfig
from speech.errors import SpeechError
from wire.declared_plan import DeclaredPlan
from wire.hosting import is_for_a_host
from wire.messages import MODEL, VERSION, Answer, Task, problem
from wire.node_answers import NodeSum
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
        except Exception as error:  # between the data and the server: nothing else may pass
            content = problem(in_words(error, context))
        return Message(content, reply_to=message)

    return answer


def in_words(error: Exception, context: Context) -> str:
    """What the server is told of an error, of which nothing is of the speech; the log has the details."""
    if isinstance(error, OwnSettingError):
        log.error("the node's own settings are at fault: %s", error)
        return error.told
    if isinstance(error, ConfigError):
        log.error("the node's set-up is at fault: %s", error)
        return str(error)
    if isinstance(error, SpeechError):
        log.error("the node's speech, or a model beside it, is at fault: %s", error)
        full = is_simulated(context.node_config)
        return str(error) if full else AT_FAULT.format(type(error).__name__)
    log.error("a message could not be answered", exc_info=error)
    return f"{type(error).__name__} (details are in the node's own log)"


def config_of(context: Context) -> RunConfig:
    """The run configuration; messages of one run have the same, and it is checked once."""
    return _config(tuple((key, type(value), value) for key, value in context.run_config.items()))


@lru_cache(maxsize=4)
def _config(settings: tuple[tuple[str, type, Any], ...]) -> RunConfig:
    return RunConfig.from_flat({key: value for key, _, value in settings})


@cache
def _make_ready() -> None:
    """Load what this worker's first task needs, once for all its nodes, before that task comes."""
    Thread(target=load_compiler, daemon=True).start()


@sanitised
def query(message: Message, context: Context) -> RecordDict:
    """Report how many usable speakers this node has, and of which data set; a host, of each of its nodes.

    It raises if the node has another frozen model than the server.
    """
    config, asked = config_of(context), read_record(message.content, "query", ConfigRecord)
    if is_simulated(context.node_config):
        _make_ready()
    if hosts_nodes(config, context.node_config):
        return hosting.query(config, context, asked)
    return register(Node.for_message(config, dict(context.node_config)), context, asked).to_record()


@sanitised
def declare(message: Message, context: Context) -> RecordDict:
    """Agree to train for the declared plan, or raise. It reads no speech and starts no process."""
    config, node_config = config_of(context), dict(context.node_config)
    policy = NodePolicy.for_run(config, NodeSpeech.of(config.corpus, node_config), node_config)
    policy.require_plan(DeclaredPlan.in_content(message.content), config)
    return RecordDict({"answer": ConfigRecord({"version": VERSION})})


@sanitised
@punctual
def train(message: Message, context: Context) -> RecordDict:
    """Return the sum of the drawn speakers' clipped updates."""
    config = config_of(context)
    if is_for_a_host(message) and hosts_nodes(config, context.node_config):
        return hosting.train(config, message, context, in_words)
    task, vector = Task.from_message(message)
    node = Node.for_message(config, dict(context.node_config))
    speakers = called(node, context, task)
    exchange = node.exchange(message.content, context.state, speakers)
    node.load(task, vector)
    del vector, message.content[MODEL]  # Flower keeps the message until it is answered
    total = NodeSum(task, node.rules.layout)
    raw = node.train(task, speakers, total, exchange)
    content = Answer.of(task, total.integers, raw, node.dataset if task.dataset else None).to_record()
    if exchange is not None:
        content.update(exchange.to_records())
    return content
