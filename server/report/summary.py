"""The end of a run in words: what was learnt, at what price, what went wrong, where it lies."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from base.printable_text import one_line
from privacy import Epsilon, Lineage, PrivacyPlan, epsilon, epsilon_text
from server.evaluation import TranscribedSentence
from server.report.live_table import MOST_NAMED, warning
from server.storage.ledgers import Account
from server.storage.run_ids import short
from speech.evaluation.evaluation import Evaluation

LONGEST_NOTE = 2000
UNNOISED_READING = (
    "loss, WER and CER on speakers who are in the population too are un-noised functions of their speech, "
    "which no epsilon covers"
)
RAW_METRICS = (
    "note: run.raw-metrics was on: not_private.jsonl holds un-noised metrics that no epsilon above covers"
)


def summarise(
    *,
    plan: PrivacyPlan,
    rounds: int,
    account: Account,
    synthetic: bool,
    extrapolated: PrivacyPlan,
    seed: Evaluation,
    final: Evaluation,
    sentences: Sequence[TranscribedSentence],
    failures: Mapping[int, Sequence[str]],
    remarks: Sequence[str],
    skipped: int,
    skipped_held_out: int,
    known_voices: Collection[str],
    stopped_because: str,
    seconds: float,
    traffic: tuple[int, int],
    parameters: str,
    folder: Path,
    raw_metrics: bool = False,
    resumed_after: int | None = None,
) -> str:
    """The text of summary.txt, which also ends the live table."""
    # A round that was made anew was released twice.
    released = max(extrapolated.releases_in(rounds), account.releases)
    parts = [
        _sentences(sentences),
        f"{_learnt(seed, final, rounds, seconds)}\n{parameters}",
        _stopped(stopped_because),
        _of_model(account, plan),
        _price(plan, epsilon(account.own, plan.delta), extrapolated, extrapolated.epsilon_of(released)),
        _of_people(account, plan.delta, synthetic),
        _traffic(*traffic),
        _resumed(resumed_after),
        _caveats(failures, remarks, skipped, skipped_held_out, known_voices),
        RAW_METRICS if raw_metrics else "",
        f"run folder: {folder}\ntry: murmur transcribe --run {folder} your.wav",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _sentences(sentences: Sequence[TranscribedSentence]) -> str:
    blocks = [
        f"  said   {reading.reference}\n"
        f"  seed   {reading.by_seed or '(nothing)'}\n"
        f"  final  {reading.by_final or '(nothing)'}"
        for reading in sentences
    ]
    return (
        "held-out sentences, as the seed model and the final model hear them:\n\n" + "\n\n".join(blocks)
        if blocks
        else ""
    )


def _learnt(seed: Evaluation, final: Evaluation, rounds: int, seconds: float) -> str:
    return (
        f"held-out WER {100 * seed.wer:.1f} % -> {100 * final.wer:.1f} %, "
        f"CER {100 * seed.cer:.1f} % -> {100 * final.cer:.1f} %, "
        f"loss {seed.loss:.3f} -> {final.loss:.3f}, in {rounds} rounds and {seconds:.0f} seconds"
    )


def _stopped(reason: str) -> str:
    return f"stopped before the last round: {reason}" if reason else ""


def _of_model(account: Account, plan: PrivacyPlan) -> str:
    """THE epsilon where the seed model came from private runs; else it is this run's."""
    if not account.inherited:
        return ""
    runs = ", ".join(short(one.run) for one in account.lineage if one.private)
    return (
        f"privacy of the model, with the {account.inherited:,} releases of the runs that its seed came from "
        f"({runs}), for a person who is in all their populations:\n"
        f"  epsilon {_both(epsilon(account.of_model, plan.delta))} at delta {plan.delta:g}"
    )


def unprotected(lineage: Lineage) -> list[str]:
    """What is to be said of a seed model that learnt from people without a promise to them."""
    runs = [short(one.run) for one in lineage if one.unprotected]
    if not runs:
        return []
    return [
        f"the seed model came from a federated run without privacy ({', '.join(runs)}): no epsilon here "
        "covers what it learnt from the people there"
    ]


def _price(plan: PrivacyPlan, real: Epsilon, extrapolated: PrivacyPlan, imagined: Epsilon) -> str:
    return "\n".join([*warning(plan), _epsilons(plan, real, extrapolated, imagined)])


def _epsilons(plan: PrivacyPlan, real: Epsilon, extrapolated: PrivacyPlan, imagined: Epsilon) -> str:
    return (
        f"privacy of this run ({plan.adjacency}, {plan.sampler} sampling, delta {plan.delta:g}):\n"
        f"  population {plan.population:,}, expected cohort {plan.cohort:g}, noise multiplier "
        f"{plan.noise_multiplier:.4g}, sigma_DP {plan.sigma_dp:.3g}: epsilon {_both(real)}\n"
        f"extrapolated, not this run (same sigma_DP): population {extrapolated.population:,}, "
        f"cohort {extrapolated.cohort:,.0f}, noise multiplier {extrapolated.noise_multiplier:.4g}: "
        f"epsilon {_both(imagined)}"
    )


def _of_people(account: Account, delta: float, synthetic: bool) -> str:
    """What other runs on the same people add; on the first run, only where they will be counted."""
    who = "these synthetic speakers" if synthetic else "these people"
    elsewhere = " or on the people of its seed model" if account.elsewhere else ""
    if not account.others:
        return f"runs on {who} add up in one ledger: {account.ledger.path}"
    return (
        f"privacy of {who} over all runs, with {account.others:,} releases of other runs on them{elsewhere}: "
        f"epsilon {_both(epsilon(account.everything, delta))}\n"
        f"ledger of all runs: {account.ledger.path}"
    )


def _traffic(down: int, up: int) -> str:
    return f"traffic: {down / 1e6:,.1f} MB of models to the nodes, {up / 1e6:,.1f} MB of sums back"


def _resumed(after: int | None) -> str:
    if after is None:
        return ""
    return (
        f"note: resumed after round {after}; time and notes are since then, and releases of rounds that were "
        "not kept are counted as spent"
    )


def _both(value: Epsilon) -> str:
    pld = "not computed" if value.pld is None else epsilon_text(value.pld)
    return f"{epsilon_text(value.value)} (by {value.accountant}; RDP {epsilon_text(value.rdp)}, PLD {pld})"


def _caveats(
    failures: Mapping[int, Sequence[str]],
    remarks: Sequence[str],
    skipped: int,
    skipped_held_out: int,
    known_voices: Collection[str],
) -> str:
    notes = [
        f"node {node} was left out {len(reasons)} times, last because: {reasons[-1]}"
        for node, reasons in sorted(failures.items())[:MOST_NAMED]
    ]
    if len(failures) > MOST_NAMED:
        more = len(failures) - MOST_NAMED
        notes.append(f"and {more} more nodes were left out: traffic.jsonl names them all")
    notes += remarks
    if skipped:
        notes.append(f"{skipped} utterances were skipped (`murmur corpus describe` lists them)")
    if skipped_held_out:
        notes.append(f"{skipped_held_out} held-out utterances could not be read and were skipped")
    if known_voices:
        notes.append(speakers_in_training(known_voices))
    return "\n".join(f"note: {one_line(note, most=LONGEST_NOTE)}" for note in notes)


def speakers_in_training(known_voices: Collection[str]) -> str:
    """What it means that held-out speakers are in another split of the corpus too."""
    return (
        f"{len(known_voices)} held-out speakers were also heard in training: "
        f"this WER says nothing about new voices, and {UNNOISED_READING}"
    )
