"""A federation, from the registration of nodes to the prepared run: the function behind the ServerApp.

Guarantee: all checks are made before the first round, and nothing is drawn or spent before they have passed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread

import numpy as np
from flwr.serverapp import Grid

from optim.flat_model import layout_of
from optim.trainable import freeze, frozen_digest
from privacy import PrivacyPlan, Release, SecureGaussian, rdp_epsilon
from privacy.kernels import load_compiler
from recipes import ConfigError, RunConfig
from server.anchor import Anchor, AnchorSpeech, seed_file
from server.averaging import ModelAverage, make_averaging
from server.evaluation import EvaluationPlace, HeldOut
from server.factory import (
    make_adaptive,
    make_bounds,
    make_extrapolated,
    make_plan,
    make_server_step,
    starting_model,
)
from server.federated_run import FederatedRun
from server.node_changes import NodeChanges
from server.planning import with_time_for_all
from server.registration import Registration, declare, register_nodes
from server.report.layer_norms import LayerNorms
from server.report.screen import RunScreen
from server.spending import Spending
from server.storage.ancestry import unprotected
from server.storage.checkpoints import Identity
from server.storage.populations import PopulationIdentity
from server.storage.resumption import Interrupted, open_run
from server.storage.run_files import RunFiles
from server.storage.run_folder import RunFolder
from server.storage.run_ids import fresh_run_id
from speech.model.checks import require_sound
from speech.model.recogniser import Recogniser
from speech.text import alphabet_of
from strategies import (
    GlobalModel,
    Mechanism,
    Scaffold,
    ServerStep,
    StreamingGrid,
    TrainingRun,
    bind,
    strategy_class,
)
from strategies.dp_fed_opt import OnMean
from strategies.flower_seam import is_simulation
from wire.declared_plan import DeclaredPlan
from wire.raw_metrics import RawMetrics

MESSAGES_UNDER_WAY = 64  # in a simulation, whose messages are in the memory of this process; or more:
A_WORKER = 4  # so many for each worker, of which none should wait for its next


def run_federation(
    grid: Grid, config: RunConfig, *, run_id: str, workers: int = 0, on_mean: OnMean | None = None
) -> Path:
    """Run the federation that `config` describes; return the run folder.

    Args:
        grid: Flower's grid.
        config: The run configuration.
        run_id: Flower's number of the run.
        workers: Of a simulation, if the number is known.
        on_mean: For experiments: called with each round's released mean before the server's step.

    Raises:
        ConfigError, SpeechError, RegistrationError, ResumeRefused, PrivacyError: If the run cannot start or
            continue; nothing has been drawn or spent then.
        TooFewAnswers, RepliesRefused: As `FederatedRun.run`.
    """
    interrupted = Interrupted.find(config)
    own_id = interrupted.run if interrupted else fresh_run_id()
    model, frozen = _checked_model(config, interrupted)
    place = EvaluationPlace.of(config.run)
    held_out = HeldOut.of(config.corpus, model, place, config.training.evaluate_share)
    public = AnchorSpeech.of(config, held_out)
    seed = str(interrupted.folder.seed) if interrupted else config.model.seed
    anchor = Anchor(public, config, seed_file(seed), place) if public else None
    simulated = is_simulation(grid)
    if config.training.hosted_nodes and not simulated:
        raise ConfigError(
            f"training.hosted-nodes = {config.training.hosted_nodes}: only SuperNodes of a simulation hold "
            "many nodes; set it to 0"
        )
    window = max(MESSAGES_UNDER_WAY, A_WORKER * workers)
    streaming = StreamingGrid(grid, window=window if simulated else 0, simulated=simulated)
    Thread(target=_prepare_first_round, daemon=True).start()
    registration = register_nodes(
        streaming,
        config.training,
        frozen,
        held_out.held_out_speakers(config.corpus),
        planned=config.privacy.population,
        run=own_id,
        resumed=interrupted is not None,
        anchor=public.speakers if public else None,
    )
    index = registration.population_index
    plan = make_plan(config, index.population)
    config = with_time_for_all(config, plan, index.counts, simulated=simulated)
    declared = None
    if not simulated:
        declared = DeclaredPlan.of(plan)
        declare(streaming, declared, index.nodes, config.training.wait_seconds)
    run = prepare_run(
        config, model, held_out, registration, plan, run_id, own_id, interrupted, declared, anchor
    )
    run.strategy.on_mean = on_mean
    with run.strategy.ledger:
        return run.run(streaming)


def _checked_model(config: RunConfig, interrupted: Interrupted | None) -> tuple[Recogniser, str]:
    """Return the model that the run starts from, checked and frozen, and the digest of what is frozen."""
    section = config.model
    alphabet = alphabet_of(config.corpus.language, config.corpus.characters)
    if interrupted:
        section = section.model_copy(update={"seed": str(interrupted.folder.seed)})
    model = starting_model(section, alphabet)
    freeze(model, section.trained)
    layout_of(model, config.privacy.groups)  # refuses groups that do not fit before any node is asked
    frozen = frozen_digest(model)
    if section.cache_frozen:
        model.start_from_stem()
    require_sound(model, trainable=section.trainable, longest_seconds=config.corpus.max_seconds)
    return model, frozen


def _prepare_first_round() -> None:
    """Load and compile what the first round needs, while the server waits for nodes: it takes seconds."""
    load_compiler()
    SecureGaussian().add_rounded_(np.zeros(1, dtype=np.int64), 1.0)
    rdp_epsilon([Release(sampling_rate=0.5, noise_multiplier=1.0)], 0.5)


def prepare_run(
    config: RunConfig,
    model: Recogniser,
    held_out: HeldOut,
    registration: Registration,
    plan: PrivacyPlan,
    run_id: str,
    own_id: str,
    interrupted: Interrupted | None = None,
    declared: DeclaredPlan | None = None,
    anchor: Anchor | None = None,
) -> FederatedRun:
    """Make the run folder, or reopen that of the interrupted run, and everything that a round needs."""
    layout, vector = bind(model, config.privacy.groups, constant_buffers=True)
    bounds, quantiser = make_bounds(config.privacy, layout)
    optimiser, schedule = make_server_step(config.server, layout)
    public = anchor.speech.speakers if anchor else None
    identity = Identity.of(
        config,
        plan,
        layout.digest,
        registration.dataset,
        registration.frozen,
        public.dataset if public else "",
    )
    extrapolated = make_extrapolated(config, plan)
    population = PopulationIdentity(
        digests=frozenset(registration.population_index.datasets),
        tokens=registration.tokens,
        synthetic=registration.synthetic,
    )
    tokens = frozenset(one.hex() for one in public.tokens) if public else frozenset()
    opened = open_run(config, plan, identity, population, interrupted, run_id, own_id, tokens)
    mechanism = Mechanism(
        plan=plan,
        bounds=bounds,
        quantiser=quantiser,
        noise_shape=config.privacy.noise_shape,
        adaptive=make_adaptive(config.privacy),
    )
    layers = LayerNorms.of(layout, mechanism) if config.run.raw_metrics else None
    scaffold = config.local.algorithm == "scaffold"
    strategy = (Scaffold if scaffold else strategy_class(config.server.optimiser))(
        model=GlobalModel(vector=vector, layout=layout, frozen=registration.frozen),
        mechanism=mechanism,
        server_step=ServerStep(
            optimiser=optimiser, learning_rate=config.server.learning_rate, schedule=schedule
        ),
        run=TrainingRun(
            population_index=registration.population_index,
            ledger=opened.account.ledger,
            dataset=opened.account.population_name,
            run_id=opened.account.run,
            spent_elsewhere=opened.account.elsewhere,
            addressing=registration.addressing,
        ),
        round_deadline_seconds=config.training.round_deadline_seconds,
        on_raw_metrics=_keeper(opened.folder, layout.names, layers) if layers else None,
        declared=declared,
    )
    average = ModelAverage(make_averaging(config.server), vector, config.training.rounds)
    account, synthetic = opened.account, registration.synthetic
    spending = Spending(plan=plan, extrapolated=extrapolated, account=account, synthetic=synthetic)
    return FederatedRun(
        config=config,
        model=model,
        strategy=strategy,
        anchor=anchor,
        average=average,
        held_out=held_out,
        folder=opened.folder,
        files=RunFiles(
            folder=opened.folder,
            identity=identity,
            account=account,
            strategy=strategy,
            model=model,
            average=average,
            synthetic=synthetic,
        ),
        spending=spending,
        screen=RunScreen(
            config=config,
            folder=opened.folder,
            model=model,
            strategy=strategy,
            spending=spending,
            held_out=held_out,
            resumed_after=interrupted.checkpoint.round_number if interrupted else None,
            layers=layers,
        ),
        interrupted=interrupted,
        skipped=registration.skipped,
        node_changes=NodeChanges(
            registration.population_index, (*opened.remarks, *unprotected(account.lineage))
        ),
    )


def _keeper(
    folder: RunFolder, tensors: Sequence[str], layers: LayerNorms
) -> Callable[[int, int, RawMetrics], None]:
    """What becomes of a node's metrics without noise: a line of not_private.jsonl, and the live view."""

    def keep(round_number: int, node: int, raw: RawMetrics) -> None:
        folder.append_raw_metrics(tensors, round_number, node, raw)
        layers.add(round_number, raw)

    return keep
