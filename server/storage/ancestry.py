"""From which federated runs a seed model came: from its file, or for older files from their run folder.

Guarantee: a model of a private run whose releases cannot be found is refused as a seed, and so is an epsilon
of what was trained from it. A model that no federation made (`murmur pretrain`) has no ancestors.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from privacy import (
    Ancestor,
    Lineage,
    SpendingUnknown,
    epsilon,
    epsilon_text,
    ledger_releases,
    read_ledger,
)
from privacy.ledger.lineage import UNKNOWN_RUN, inherited_releases, lineage_from_json
from recipes import SEEDS_WITHOUT_FILE, WITHOUT_FILES, seed_model
from server.report.summary import unprotected
from server.storage.checkpoints import Checkpoint, load_checkpoint
from server.storage.ledgers import require_spent
from server.storage.run_folder import RunFolder
from server.storage.run_ids import run_of, short
from speech.errors import CheckpointMismatch
from speech.model.checkpoint import load_model, read_metadata

LINEAGE = "lineage"
_UNKNOWN = Ancestor(run=UNKNOWN_RUN, people=UNKNOWN_RUN, private=False)


def lineage_of_seed(seed: str) -> Lineage:
    """The runs that made what `model.seed` names.

    Raises:
        SpendingUnknown: If it is a model of a private run whose releases cannot be found.
        CheckpointMismatch: If there is no such model file.
    """
    return () if seed in SEEDS_WITHOUT_FILE else lineage_of_model(seed_model(seed))


def lineage_of_model(path: Path) -> Lineage:
    """The runs that made a model file, the last one last; raises as `lineage_of_seed`."""
    metadata = read_metadata(path)
    if LINEAGE in metadata:
        try:
            return lineage_from_json(metadata[LINEAGE])
        except ValueError as error:
            raise SpendingUnknown(f"{path}: {error}; use the model file that the run wrote") from error
    if "privacy" not in metadata:
        return ()
    return _as_older_releases_left_it(path, private=metadata["privacy"] != "none")


def promise_of(text: str) -> str:
    """The guarantee of a model in a sentence, by the lineage in its own file.

    Raises:
        SpendingUnknown: If that is no lineage.
    """
    try:
        lineage = lineage_from_json(text)
    except ValueError as error:
        raise SpendingUnknown(f"the model file has {error}; use the one that the run wrote") from error
    if not lineage:
        return "the seed model of a run, which no federation made: none"
    if not lineage[-1].private:
        return "none"
    last, spent = lineage[-1], epsilon(inherited_releases(lineage), lineage[-1].delta)
    runs = ", ".join(short(one.run) for one in lineage if one.private)
    return (
        f"epsilon {epsilon_text(spent.value)} (by {spent.accountant}) at delta {last.delta:g}, "
        f"{last.adjacency}, of all that the runs {runs} had released; from the model file"
        + "".join(f"; {note}" for note in unprotected(lineage))
    )


def lineage_before(folder: RunFolder, checkpoint: Checkpoint) -> Lineage:
    """The runs that made the seed model of the run in `folder`."""
    if checkpoint.lineage is not None:
        return checkpoint.lineage
    seed = str(_config_of(folder).get("model", {}).get("seed", "embedded"))
    if seed in SEEDS_WITHOUT_FILE:
        return ()
    file = seed_model(seed).resolve()
    if file.parent == folder.path.resolve() or not file.is_file():  # `latest`, or a file that is gone
        return (_UNKNOWN,)
    found = lineage_of_model(file)
    return found if _same_tensors(file, folder.seed) else (_UNKNOWN, *found)


def _same_tensors(seed: Path, kept: Path) -> bool:
    """Whether a model file still is the seed that an older run kept a copy of: it may be a newer model."""
    try:
        theirs, ours = (load_model(path).model.state_dict() for path in (seed, kept))
    except CheckpointMismatch:
        return False
    return theirs.keys() == ours.keys() and all(theirs[name].equal(ours[name]) for name in theirs)


def _as_older_releases_left_it(path: Path, private: bool) -> Lineage:
    """Of a model file without a lineage: its run is the one in whose folder it lies."""
    path = path.resolve()  # a link may have any name
    folder = RunFolder(path.parent)
    newest = folder.newest_checkpoint()
    if newest is None:
        if private:
            raise SpendingUnknown(
                f"{path} is the model of a private run, written before models carried what was spent: "
                "name it within its run folder, beside its checkpoints and its ledger"
            )
        return (_UNKNOWN,)
    checkpoint = load_checkpoint(newest, tensors=False)
    before = lineage_before(folder, checkpoint)
    return before if path == folder.seed else (*before, _of_folder(folder, checkpoint))


def _of_folder(folder: RunFolder, checkpoint: Checkpoint) -> Ancestor:
    plan, people, run = checkpoint.plan, checkpoint.people, run_of(checkpoint, folder.path)
    synthetic = _config_of(folder).get("corpus", {}).get("kind") in WITHOUT_FILES and not folder.own_speech
    if not plan.is_private:
        return Ancestor(run=run, people=people, private=False, synthetic=synthetic)
    entries = read_ledger(folder.ledger)
    require_spent(entries, people, run, plan, folder.rounds_made(checkpoint.round_number), folder.path)
    return Ancestor(
        run=run,
        people=people,
        private=True,
        synthetic=synthetic,
        delta=plan.delta,
        adjacency=plan.adjacency,
        releases=ledger_releases(entries, people, run),
    )


def _config_of(folder: RunFolder) -> dict[str, Any]:
    file = folder.path / "config.toml"
    return tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
