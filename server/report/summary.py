"""The summary that ends a run: what was learnt, its privacy, what failed, and where the results are."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from base.counts import count_of
from base.printable_text import one_line
from privacy import Epsilon, epsilon_text
from recipes import RunConfig
from server.evaluation import ModelEvaluations, TranscribedSentence
from server.report.live_table import MOST_NAMED, warning
from server.spending import Spending
from server.storage.run_folder import RunFolder
from server.storage.run_ids import short

LONGEST_NOTE = 2000
UNNOISED_EVALUATION = (
    "loss, WER and CER on speakers of the population are computed from their speech without noise, and no "
    "epsilon covers that"
)
RAW_METRICS = (
    "note: run.raw-metrics was on: not_private.jsonl has metrics without noise, and no epsilon covers them"
)


@dataclass(frozen=True, kw_only=True)
class Course:
    """What happened in a run.

    Attributes:
        config: The run configuration.
        folder: The run folder.
        model: Preset and size of the model, in words, and which average of models it is, if any.
        rounds: Number of rounds that were made.
        seconds: Duration since the run was started or resumed.
        stopped_because: Why it ended before its last round; empty if it did not.
        resumed_after: The round after which it was resumed; None if it was not.
        failures: By node, the reasons why it was left out of rounds.
        remarks: Remarks on the ledger and on changes of nodes.
        skipped: Number of utterances of the nodes that could not be used.
    """

    config: RunConfig
    folder: RunFolder
    model: str
    rounds: int
    seconds: float
    stopped_because: str
    resumed_after: int | None
    failures: Mapping[int, Sequence[str]]
    remarks: Sequence[str]
    skipped: int


def summarise(course: Course, spending: Spending, evaluations: ModelEvaluations) -> str:
    """Return the text of summary.txt, which is also printed below the live table."""
    folder = course.folder
    parts = [
        _sentences(evaluations.sentences(course.config.run.sentences_shown)),
        f"{_learnt(course, evaluations)}\n{course.model}",
        f"stopped before the last round: {course.stopped_because}" if course.stopped_because else "",
        _privacy_of_model(spending),
        _privacy_of_run(course, spending),
        _privacy_of_population(spending),
        _traffic(*folder.traffic_of_all_rounds()),
        _resumed(course.resumed_after),
        _notes(course, evaluations),
        RAW_METRICS if course.config.run.raw_metrics else "",
        f"run folder: {folder.path}\ntry: murmur transcribe --run {folder.path} your.wav",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _sentences(sentences: Sequence[TranscribedSentence]) -> str:
    blocks = [
        f"  said   {sentence.reference}\n"
        f"  seed   {sentence.by_seed or '(nothing)'}\n"
        f"  final  {sentence.by_final or '(nothing)'}"
        for sentence in sentences
    ]
    return (
        "held-out sentences, as the seed model and the final model transcribe them:\n\n" + "\n\n".join(blocks)
        if blocks
        else ""
    )


def _learnt(course: Course, evaluations: ModelEvaluations) -> str:
    seed, final = evaluations.seed, evaluations.newest
    return (
        f"held-out WER ({final.normaliser}) {100 * seed.wer:.1f} % -> {100 * final.wer:.1f} %, "
        f"CER {100 * seed.cer:.1f} % -> {100 * final.cer:.1f} %, "
        f"loss {seed.loss:.3f} -> {final.loss:.3f}, "
        f"in {count_of(course.rounds, 'round')} and {course.seconds:.0f} seconds"
    )


def _privacy_of_model(spending: Spending) -> str:
    """THE epsilon if private runs made the seed model; otherwise that of this run is the model's."""
    found, account = spending.of_model(), spending.account
    if found is None:
        return ""
    runs = ", ".join(short(one.run) for one in account.lineage if one.private)
    return (
        f"privacy of the model, with {count_of(account.inherited, 'release')} of the runs that made its "
        f"seed model ({runs}), for a person who is in all their populations:\n"
        f"  epsilon {_both(found)} at delta {spending.plan.delta:g}"
    )


def _privacy_of_run(course: Course, spending: Spending) -> str:
    plan, larger = spending.plan, spending.extrapolated
    return "\n".join(
        [
            *warning(plan),
            f"privacy of this run ({plan.adjacency}, {plan.sampler} sampling, delta {plan.delta:g}):",
            f"  population {plan.population:,}, expected cohort {plan.cohort:g}, noise multiplier "
            f"{plan.noise_multiplier:.4g}, sigma_DP {plan.sigma_dp:.3g}: epsilon {_both(spending.of_run())}",
            f"extrapolated, not this run (same sigma_DP): population {larger.population:,}, "
            f"cohort {larger.cohort:,.0f}, noise multiplier {larger.noise_multiplier:.4g}: "
            f"epsilon {_both(spending.if_extrapolated(course.rounds))}{larger.remark_on_delta}",
        ]
    )


def _privacy_of_population(spending: Spending) -> str:
    """The epsilon of all runs on this population; in its first run, where later ones will be counted."""
    found, account = spending.of_population(), spending.account
    speakers = "these synthetic speakers" if spending.synthetic else "these speakers"
    if found is None:
        return f"all runs on {speakers} add up in one ledger: {account.ledger.path}"
    elsewhere = " or on the speakers of its seed model" if account.elsewhere else ""
    return (
        f"privacy of {speakers} in all runs, with {count_of(account.others, 'release')} of other runs on them"
        f"{elsewhere}: epsilon {_both(found)}\n"
        f"ledger of all runs: {account.ledger.path}"
    )


def _traffic(down: int, up: int) -> str:
    return f"traffic: {down / 1e6:,.1f} MB of models to the nodes, {up / 1e6:,.1f} MB of update sums back"


def _resumed(after: int | None) -> str:
    if after is None:
        return ""
    return (
        f"note: resumed after round {after}; time and notes count from there. Rounds whose models were lost "
        "in the interruption count as spent"
    )


def _both(value: Epsilon) -> str:
    if math.isinf(value.value):
        return "infinite"
    pld = "not computed" if value.pld is None else epsilon_text(value.pld)
    return f"{epsilon_text(value.value)} (by {value.accountant}; RDP {epsilon_text(value.rdp)}, PLD {pld})"


def _notes(course: Course, evaluations: ModelEvaluations) -> str:
    held_out = evaluations.held_out
    notes = [*_failures(course.failures), *course.remarks]
    if course.skipped:
        notes.append(f"{count_of(course.skipped, 'utterance')} skipped (`murmur corpus describe` lists them)")
    if skipped := len(held_out.store.skipped):
        notes.append(f"{count_of(skipped, 'held-out utterance')} skipped, which could not be read")
    if held_out.speakers_in_training:
        notes.append(speakers_in_training(held_out.speakers_in_training))
    return "\n".join(f"note: {one_line(note, most=LONGEST_NOTE)}" for note in notes)


def _failures(failures: Mapping[int, Sequence[str]]) -> list[str]:
    notes = [
        f"node {node} was left out {len(reasons)} times; the last reason: {reasons[-1]}"
        for node, reasons in sorted(failures.items())[:MOST_NAMED]
    ]
    if len(failures) > MOST_NAMED:
        more = len(failures) - MOST_NAMED
        notes.append(f"and {more} more nodes were left out: traffic.jsonl names them all")
    return notes


def speakers_in_training(speakers: Collection[str]) -> str:
    """Return the warning that some held-out speakers are also in another split of the corpus."""
    return (
        f"{len(speakers)} held-out speakers are also in the training data: this WER is not that of new "
        f"speakers, and {UNNOISED_EVALUATION}"
    )
