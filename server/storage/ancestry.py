"""The federated runs that made a seed model: from its file or, for older files, from their run folder.

Guarantee: a model of a private run whose releases cannot be found is refused as a seed model, so no epsilon
is shown for what would be trained from it. A model that was not made by federated training
(`murmur pretrain`) has no ancestors.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from privacy import (
    Ancestor,
    Lineage,
    PrivacyPlan,
    Release,
    SpendingUnknown,
    epsilon,
    epsilon_text,
    ledger_releases,
    read_ledger,
)
from privacy.ledger.lineage import UNKNOWN_RUN, inherited_releases, lineage_from_json
from recipes import SEEDS_WITHOUT_FILE, WITHOUT_FILES, seed_model
from recipes.model_section import ModelSection
from server.storage.checkpoints import Checkpoint, load_checkpoint
from server.storage.ledgers import require_spent
from server.storage.run_folder import RunFolder
from server.storage.run_ids import run_of, short
from speech.errors import CheckpointMismatch
from speech.model.checkpoint import load_model, read_metadata
from speech.pretrained.folder import ModelFolder
from speech.pretrained.store import find_folder

LINEAGE = "lineage"
_UNKNOWN = Ancestor(run=UNKNOWN_RUN, people=UNKNOWN_RUN, private=False)


def lineage_of_start(model: ModelSection) -> Lineage:
    """Return the runs that made what a recipe starts from: its seed model, and its base model.

    A folder that `murmur export` wrote holds the lineage of the model in it.

    Raises:
        SpendingUnknown: If one of them is of a private run whose releases cannot be found.
        CheckpointMismatch, ModelError: If there is no such model.
    """
    seed = lineage_of_seed(model.seed)
    base = () if model.is_preset else _lineage_of_folder(find_folder(model.name))
    known = {one.run for one in seed}
    return (*(one for one in base if one.run not in known), *seed)


def _lineage_of_folder(folder: ModelFolder) -> Lineage:
    told, place = folder.exported, folder.path
    if LINEAGE in told:
        try:
            return lineage_from_json(told[LINEAGE])
        except ValueError as error:
            raise SpendingUnknown(f"{place}: {error}; use the folder as it was exported") from error
    if not told.get("privacy", "none").startswith("none"):
        raise SpendingUnknown(
            f"{place} was exported from a private run, and does not contain what was spent: export it again "
            "from its run folder"
        )
    return ()


def lineage_of_seed(seed: str) -> Lineage:
    """Return the runs that made the model of a recipe's `model.seed`.

    Raises:
        SpendingUnknown: If it is a model of a private run whose releases cannot be found.
        CheckpointMismatch: If there is no such model file.
    """
    return () if seed in SEEDS_WITHOUT_FILE else lineage_of_model(seed_model(seed))


def lineage_of_model(path: Path) -> Lineage:
    """Return the runs that made a model file, oldest first; raises as `lineage_of_seed`."""
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
    """Return the guarantee of a model in one sentence, from the lineage in its file.

    Args:
        text: The value of `LINEAGE` in the file's metadata.

    Raises:
        SpendingUnknown: If it is not a lineage.
    """
    try:
        lineage = lineage_from_json(text)
    except ValueError as error:
        raise SpendingUnknown(f"the model file has {error}; use the one that the run wrote") from error
    if not lineage:
        return "none: this is the seed model of a run, and no federated run made it"
    if not lineage[-1].private:
        return "none"
    last, spent = lineage[-1], epsilon(inherited_releases(lineage), lineage[-1].delta)
    runs = ", ".join(short(one.run) for one in lineage if one.private)
    return (
        f"epsilon {epsilon_text(spent.value)} (by {spent.accountant}) at delta {last.delta:g}, "
        f"{last.adjacency}, for all releases of the runs {runs}; from the model file"
        + "".join(f"; {note}" for note in unprotected(lineage))
    )


def lineage_before(folder: RunFolder, checkpoint: Checkpoint) -> Lineage:
    """Return the runs that made the seed model of the run in `folder`."""
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
    """Whether a model file is still the seed model that an older run copied, not a newer one."""
    try:
        theirs, ours = (load_model(path).model.state_dict() for path in (seed, kept))
    except CheckpointMismatch:
        return False
    return theirs.keys() == ours.keys() and all(theirs[name].equal(ours[name]) for name in theirs)


def _as_older_releases_left_it(path: Path, private: bool) -> Lineage:
    """The lineage of a model file without one: its run is that of the folder that it is in."""
    path = path.resolve()  # the file may be named through a link
    folder = RunFolder(path.parent)
    newest = folder.newest_checkpoint()
    if newest is None:
        if private:
            raise SpendingUnknown(
                f"{path} is the model of a private run of an earlier release, whose models do not contain "
                "what was spent: give its path in its run folder, beside its checkpoints and its ledger"
            )
        return (_UNKNOWN,)
    checkpoint = load_checkpoint(newest, tensors=False)
    before = lineage_before(folder, checkpoint)
    return before if path == folder.seed else (*before, _of_folder(folder, checkpoint))


def _of_folder(folder: RunFolder, checkpoint: Checkpoint) -> Ancestor:
    plan, name, run = checkpoint.plan, checkpoint.population_name, run_of(checkpoint, folder.path)
    synthetic = _config_of(folder).get("corpus", {}).get("kind") in WITHOUT_FILES and not folder.own_speech
    releases: tuple[Release, ...] = ()
    if plan.is_private:
        entries = read_ledger(folder.ledger)
        require_spent(entries, name, run, plan, folder.rounds_made(checkpoint.round_number), folder.path)
        releases = ledger_releases(entries, name, run)
    return ancestor(run, name, plan, releases, synthetic=synthetic)


def ancestor(
    run: str, population_name: str, plan: PrivacyPlan, releases: tuple[Release, ...], *, synthetic: bool
) -> Ancestor:
    """Describe a run as an ancestor of the models that start from its model.

    Args:
        run: The run's id.
        population_name: The name of its population in the ledger.
        plan: Its privacy plan.
        releases: Its releases so far; those of a run without privacy have no bound and are left out.
        synthetic: Whether all its speakers are synthetic.
    """
    return Ancestor(
        run=run,
        people=population_name,
        private=plan.is_private,
        synthetic=synthetic,
        delta=plan.delta,
        adjacency=plan.adjacency,
        releases=releases if plan.is_private else (),
    )


def unprotected(lineage: Lineage) -> list[str]:
    """Return the remark on ancestors that learnt from real speakers without privacy, if there are any."""
    runs = [short(one.run) for one in lineage if one.unprotected]
    if not runs:
        return []
    return [
        f"the seed model came from a federated run without privacy ({', '.join(runs)}): no epsilon here "
        "covers what it learnt from the speakers of that run"
    ]


def _config_of(folder: RunFolder) -> dict[str, Any]:
    file = folder.path / "config.toml"
    return tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
