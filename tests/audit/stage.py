"""Two nodes with a few speakers, through the real messages, node, strategy, plan and ledger; no processes of
Flower's.

Round 1 draws the person in question and three others, round 2 others alone, round 3 nobody else. So where
that person is removed, round 3 has an empty cohort.
"""

import multiprocessing
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from math import nan
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict

import client.speaker_processes
from audit import NEIGHBOURS, Recorder, Trace
from audit.manifests import ordinary_speech, write_manifest
from audit.messages import summary_of, tasks_sent
from audit.trace import Answered, Asked, Collected, NodesDropped, Published, Registered, ReplySummary, Stopped
from base.registries import MODEL_PRESETS
from cli.composing import default_config
from client import answers  # noqa: F401  (what a fault replaces is loaded)
from client.app import app
from client.node import Node
from optim.flat_model import bind
from optim.trainable import freeze, frozen_digest
from privacy import LayerLayout, Ledger, PrivacyPlan, QuantileClip
from recipes import RunConfig
from recipes.run_config import known_keys
from server.factory import make_bounds, starting_model
from server.report.live_table import Row
from server.report.metrics import as_metrics
from speech.model.ctc_transformer import build_model
from strategies import DPFedAdam, DPFedOpt, GlobalModel, Mechanism, PopulationIndex, TrainingRun
from strategies.flower_seam import set_message_id
from tests.audit.planted import UNITS_A_SPEAKER, WORK, NodeDied
from tests.strategies import flower  # noqa: F401  (sets whose task this is)
from wire.messages import Task

PRESET = "audit"
OTHERS = {1: ("b", "d", "f"), 2: ("p", "q")}
ROUNDS = {1: ("b", "d", "p"), 2: ("b", "f", "q"), 3: ()}
DRAWN_IN = (1, 3)
LAST = max(ROUNDS)
COHORT, Z = 3.0, 1.0
WANTED = {
    "corpus.kind": "manifest",
    "corpus.path": "/each/node/has/its/own",
    "model.name": PRESET,
    "model.seed": "random",
    "local.batch-size": 2,
    "local.dropout": 0.1,
    "local.most-utterances": 20,
    "local.most-seconds": 20.0,
    "local.processor-seconds": 1.0,
    "local.memory-megabytes": 512,
}


def use_small_preset(monkeypatch) -> None:
    """A model of some thousand parameters, with all that is random in training."""
    tiny = MODEL_PRESETS["tiny"]
    shape = replace(tiny.shape, width=16, heads=2, feed_forward=32, layers=1, layer_drop=0.1)
    monkeypatch.setitem(MODEL_PRESETS._added, PRESET, replace(tiny, shape=shape))


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A population: `person` ("" for nobody) on the nodes `at` with the speech of the neighbour `kind`.

    `recipe` are settings that differ from `WANTED`.
    """

    person: str = "c"
    kind: str = "not an audio file"
    drawn: bool = True
    at: tuple[int, ...] = (1,)
    recipe: tuple[tuple[str, Any], ...] = ()

    def speakers(self, node: int):
        speech = {name: ordinary_speech(ord(name)) for name in OTHERS[node]}
        if self.person and node in self.at:
            speech[self.person] = NEIGHBOURS[self.kind].speech()
        return dict(sorted(speech.items()))

    def cohort(self, round_number: int) -> set[str]:
        mine = {self.person} if self.drawn and round_number in DRAWN_IN else set()
        return mine | set(ROUNDS[round_number])


@dataclass(kw_only=True)
class Performance:
    """A run of a stage: what was recorded, and its plan."""

    trace: Trace
    plan: PrivacyPlan


def flat_config() -> dict:
    """The default recipe with what makes the tests small; a setting that is not there is not set."""
    known = {**default_config()}
    return {**known, **{key: value for key, value in WANTED.items() if key in known_keys()}}


def perform(stage: Stage, folder: Path, frozen: Trace | None = None, silent=()) -> Performance:
    """Run the three rounds; nodes in `silent` never answer."""
    _forget()
    recorder = Recorder(frozen)
    WORK.since_last_asked()
    try:
        return _Run(stage, folder, recorder, set(silent)).all_rounds()
    finally:
        _forget()


def _forget() -> None:
    """Let go of what a process keeps between runs: their corpora are others."""
    client.speaker_processes.forget()
    for child in multiprocessing.active_children():
        child.kill()
        child.join()


class _Run:
    def __init__(self, stage: Stage, folder: Path, recorder: Recorder, silent: set[int]) -> None:
        self.stage, self.folder, self.recorder, self.silent = stage, folder, recorder, silent
        self.flat = {**flat_config(), **dict(stage.recipe)}
        self.config = RunConfig.from_flat(self.flat)
        self.model, self.layout = self._model()
        self.contexts = {node: self._context(node) for node in OTHERS}
        self.names = {node: self._register(node) for node in OTHERS}
        if NEIGHBOURS[stage.kind].files_go:
            for file in (folder / "node-1").glob(f"{stage.person}-*"):
                file.unlink()
        self.strategy = self._strategy()
        self.plan = self.strategy.plan
        recorder.watch(self.strategy)

    def _context(self, node: int) -> Context:
        manifest = write_manifest(self.folder / f"node-{node}", self.stage.speakers(node))
        state = str(self.folder / f"state-{node}")
        speech_here = {"corpus-path": str(manifest), "limits": "none", "node-state": state}
        if not self.config.model.is_preset:
            speech_here["base-model"] = self.config.model.name
        return Context(
            run_id=1, node_id=node, node_config=speech_here, state=RecordDict(), run_config=self.flat
        )

    def _register(self, node: int) -> tuple[str, ...]:
        message = Message(
            RecordDict({"query": ConfigRecord({"frozen": self.model.frozen})}), node, MessageType.QUERY
        )
        answer = app(message, self.contexts[node]).content["answer"]
        problem = str(answer.get("problem", ""))
        speakers = int(answer.get("speakers", 0))
        self.recorder.note(Registered(round_number=0, node=node, problem=problem, speakers=speakers))
        return tuple(Node.of(self.config, self.contexts[node].node_config).speakers)

    def _model(self) -> tuple[GlobalModel, LayerLayout]:
        """The model as the server makes it, and its layout."""
        section = self.config.model
        if section.is_preset:
            model = GlobalModel.of(build_model(PRESET, seed=0))
            return model, model.layout
        module = starting_model(section, "en")
        freeze(module, section.trained)
        frozen = frozen_digest(module)
        layout, vector = bind(module, self.config.privacy.groups, constant_buffers=True)
        return GlobalModel(vector=vector, layout=layout, frozen=frozen), layout

    def _mechanism(self, plan: PrivacyPlan, layout: LayerLayout) -> Mechanism:
        section = self.config.privacy.model_copy(update={"clip_bound": 0.02, "adaptive_clip": True})
        bounds, quantiser = make_bounds(section, layout)
        return Mechanism(plan=plan, bounds=bounds, quantiser=quantiser, adaptive=QuantileClip())

    def _strategy(self) -> DPFedOpt:
        population_index = PopulationIndex.of({node: len(names) for node, names in self.names.items()})
        plan = PrivacyPlan(
            population=population_index.population, cohort=COHORT, rounds=LAST, noise_multiplier=Z, delta=1e-6
        )
        return DPFedAdam(
            model=self.model,
            mechanism=self._mechanism(plan, self.layout),
            run=TrainingRun(
                population_index=population_index,
                ledger=Ledger.open(self.folder / "ledger.jsonl"),
                dataset="speakers",
                run_id="audit",
            ),
            learning_rate=0.01,
            beta1=0.9,
            beta2=0.99,
            epsilon=1e-6,
        )

    def all_rounds(self) -> Performance:
        with self.strategy.ledger._inner:
            for number in ROUNDS:
                self.recorder.round_number = number
                try:
                    self._round(number)
                except Exception as error:
                    words = f"{type(error).__name__}: {error}"
                    self.recorder.note(Stopped(round_number=number, error=words))
                    break
        return Performance(trace=self.recorder.trace, plan=self.plan)

    def _numbers(self, round_number: int) -> list[int]:
        everybody = [name for node in OTHERS for name in self.names[node]]
        cohort = self.stage.cohort(round_number)
        return [number for number, name in enumerate(everybody) if name in cohort]

    def _round(self, number: int) -> None:
        note, strategy = self.recorder.note, self.strategy
        with self.recorder.drawing(self._numbers(number)), self.recorder.server_log():
            messages = list(strategy.configure_train(number, strategy.arrays(), ConfigRecord(), None))
            note(Asked(round_number=number, messages=tasks_sent(messages)))
        replies = [reply for message in messages if (reply := self._reply(message)) is not None]
        seen = {one.metadata.dst_node_id: ReplySummary(outcome="silent") for one in messages}
        for one in replies:
            seen[one.metadata.src_node_id] = summary_of(one, strategy.bounds, strategy.quantiser)
        problems = tuple(sorted({one.outcome for one in seen.values()} - {"sum"}))
        note(Answered(round_number=number, problems=problems, replies=seen))
        with self.recorder.drawing(self._numbers(number)), self.recorder.server_log():
            strategy.finish_round(number, self._one_by_one(replies))
        report = strategy.last_report
        line = as_metrics(_row(report, number))
        kept = {name: value.tolist() for name, value in strategy.state_dict().items()}
        shown = {name: str(value) for name, value in (line | kept).items()}
        note(Published(round_number=number, line=shown))
        if report.dropped:
            who = tuple((one.node, one.reason) for one in report.dropped)
            note(NodesDropped(round_number=number, who=who))

    def _one_by_one(self, replies):
        """As they come from Flower, and a note when the last was taken."""
        yield from replies
        self.recorder.note(Collected(round_number=self.recorder.round_number))

    def _reply(self, message: Message) -> Message | None:
        """The node's reply, unless it dies over it or is later than the (imaginary) deadline allows."""
        node = message.metadata.dst_node_id
        set_message_id(message, f"{self.recorder.round_number}-{node}")
        if node in self.silent:
            return None
        WORK.since_last_asked()
        with suppress(NodeDied):
            reply = app(message, self.contexts[node])
            late = WORK.since_last_asked() > UNITS_A_SPEAKER * max(1, Task.speakers_in(message))
            return None if late else reply
        return None


def _row(report, number: int) -> Row:
    """A line of the live table of which only the report was measured."""
    unmeasured = {field.name: nan for field in fields(Row)}
    return Row(**{**unmeasured, "report": report, "round_number": number})
