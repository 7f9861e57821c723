"""The checkpoint of a federation: the only module that knows its format.

A checkpoint is one safetensors file. Its tensors are the state of the strategy (the model vector and the
optimiser's state), and the average of the models if there is one. Its metadata are the number of the round
after which it was written, the identity that it belongs to, the run's id, the lineage of its seed model, the
stamp `privacy` of its model, and the head of the privacy ledger at that time. The position in the schedule
is the round; the optimiser counts its own steps.

Guarantee: a path holds a complete checkpoint or nothing (temporary file, fsync, rename, fsync of the folder).
The ledger entry of a round is on the disk before its checkpoint. A checkpoint never contains a noise key.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from base.durable_file import sync
from privacy import Lineage, PrivacyPlan
from privacy.ledger.lineage import lineage_from_json, lineage_to_json
from privacy.validate import whole
from recipes import RunConfig
from recipes.earlier_keys import AS_BEFORE, with_present_keys
from server.errors import ResumeRefused
from strategies.state import VECTOR

FORMAT = "murmuration-federation-3"
READ_TOO = ("murmuration-federation-2",)  # without run ids and lineages
UNFINISHED = ".partial"

MAY_CHANGE = (
    *("run.", "corpus.path", "corpus.feature-cache", "model.seed", "privacy.extrapolate-", "local.compile"),
    "privacy.uncounted",
    *("training.evaluate-every", "training.evaluate-share"),
    *("training.min-nodes", "training.wait-seconds", "training.hosted-nodes"),
    *("training.round-deadline-seconds", "training.min-answers"),
    *("local.processor-seconds", "local.memory-megabytes"),
    "server.anchor-corpus",
)
"""Keys of the recipe (or their beginnings) that may differ in a resumed run: they change neither what is
learnt from which speakers nor the guarantee. The data set, the anchor corpus and the model are compared by
their digests."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a checkpoint belongs to; a run can continue from it only if all of this is the same.

    Attributes:
        preset: The model's name.
        layout: Digest of the model's layout.
        dataset: Digest of the nodes' speech.
        plan: The privacy plan.
        recipe: The settings that a resumed run must keep.
        frozen: Digest of the parameters that are not trained.
        anchor: Digest of the anchor corpus; "" without one.
    """

    preset: str
    layout: str
    dataset: str
    plan: Mapping[str, Any]
    recipe: Mapping[str, Any]
    frozen: str = ""
    anchor: str = ""

    @classmethod
    def of(
        cls,
        config: RunConfig,
        plan: PrivacyPlan,
        layout: str,
        dataset: str,
        frozen: str = "",
        anchor: str = "",
    ) -> Identity:
        """Return the identity of a run of `config`; the texts are digests."""
        return cls(
            preset=config.model.name,
            layout=layout,
            dataset=dataset,
            plan=json.loads(json.dumps(asdict(plan))),  # as it is read from the file
            recipe=fixed_settings(config),
            frozen=frozen,
            anchor=anchor,
        )

    def differences(self, now: Identity) -> list[str]:
        """Return each difference to the identity `now`: its name, the value before and the value now."""
        return [
            *_compare("", {"model": self.preset}, {"model": now.preset}),
            *_compare("", {"model layout": self.layout}, {"model layout": now.layout}),
            *_compare("", {"frozen parameters": self.frozen}, {"frozen parameters": now.frozen}),
            *_compare("", {"data set": self.dataset}, {"data set": now.dataset}),
            *_compare("", {"anchor corpus": self.anchor}, {"anchor corpus": now.anchor}),
            *_compare("plan: ", _plan_of_now(self.plan), now.plan),
            *recipe_differences(self.recipe, now.recipe),
        ]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state of a federation after a round.

    Attributes:
        round_number: The round.
        identity: What the checkpoint belongs to.
        ledger_head: Head of the ledger at that time (SHA-256, hex).
        tensors: State of the strategy, and the average of its models.
        privacy: Stamp of the model.
        run: The run's id; empty in files of releases without run ids.
        lineage: The runs that made the seed model; None in such files.
    """

    round_number: int
    identity: Identity
    ledger_head: str
    tensors: Mapping[str, Tensor]
    privacy: str
    run: str = ""
    lineage: Lineage | None = None

    @property
    def plan(self) -> PrivacyPlan:
        """The privacy plan of the run."""
        return PrivacyPlan(**self.identity.plan)

    @property
    def population_name(self) -> str:
        """The name of the run's population in the ledger; without one, the digest of its speech."""
        return str(self.identity.recipe.get("privacy.population-name") or self.identity.dataset)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` atomically and durably."""
    metadata = {
        "format": FORMAT,
        "round": str(checkpoint.round_number),
        "ledger_head": checkpoint.ledger_head,
        "privacy": checkpoint.privacy,
        "identity": json.dumps(asdict(checkpoint.identity), sort_keys=True),
        "run": checkpoint.run,
        "lineage": lineage_to_json(checkpoint.lineage or ()),
    }
    unfinished = path.with_suffix(UNFINISHED)
    save_file(dict(checkpoint.tensors), unfinished, metadata)
    sync(unfinished)
    unfinished.replace(path)
    sync(path.parent)


def load_checkpoint(path: Path, tensors: bool = True) -> Checkpoint:
    """Read a checkpoint, of this release or an earlier one.

    Args:
        path: The file.
        tensors: Whether to read the tensors too, which takes longer.

    Raises:
        ResumeRefused: If the file is damaged or has an unknown format.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            values = {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ResumeRefused(
            f"checkpoint {path} cannot be read ({error}); delete it to resume from the one before it "
            "(the rounds in between stay spent)"
        ) from None
    if metadata.get("format") not in (FORMAT, *READ_TOO):
        raise ResumeRefused(
            f"checkpoint {path} has format {metadata.get('format')!r}, this release reads {FORMAT!r}: "
            "resume with the release that wrote it, or start a fresh run"
        )
    try:
        return Checkpoint(
            round_number=whole(round=int(metadata["round"])),
            identity=_identity(metadata["identity"]),
            ledger_head=metadata["ledger_head"],
            tensors=values,
            privacy=metadata["privacy"],
            run=metadata.get("run", ""),
            lineage=lineage_from_json(metadata["lineage"]) if "lineage" in metadata else None,
        )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ResumeRefused(
            f"the metadata of checkpoint {path} cannot be used ({type(error).__name__}: {error}); delete it "
            "to resume from the one before it (the rounds in between stay spent)"
        ) from None


def trained_parameters(path: Path) -> int:
    """Return the number of values of the model vector in a checkpoint, which alone are trained.

    Raises:
        ResumeRefused: If the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return math.prod(file.get_slice(VECTOR).get_shape())
    except (SafetensorError, OSError) as error:
        raise ResumeRefused(f"checkpoint {path} cannot be read ({error})") from None


def _identity(text: str) -> Identity:
    """Raises `ValueError` or `TypeError` if the text is no identity."""
    identity = Identity(**json.loads(text))
    for name in ("preset", "layout", "dataset", "frozen", "anchor"):
        if not isinstance(getattr(identity, name), str):
            raise ValueError(f"its {name} is {getattr(identity, name)!r}")
    if not isinstance(identity.recipe, dict):
        raise ValueError(f"its recipe is {type(identity.recipe).__name__}")
    _ = PrivacyPlan(**identity.plan)
    return replace(identity, recipe=with_present_keys(identity.recipe))


def fixed_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings of a recipe that a resumed run must keep."""
    return {key: value for key, value in config.to_flat().items() if not key.startswith(MAY_CHANGE)}


def recipe_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the settings that differ.

    Of those that the release which wrote `then` did not have, only the ones in `AS_BEFORE` count.
    """
    then = {**{key: value for key, value in AS_BEFORE.items() if key in now}, **then}
    return _compare("", then, {key: value for key, value in now.items() if key in then})


def _plan_of_now(then: Mapping[str, Any]) -> Mapping[str, Any]:
    """The plan in a file, with defaults for the fields that its release did not have."""
    known: dict[str, Any] = json.loads(json.dumps(asdict(PrivacyPlan(**then))))
    return known


def _compare(what: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        f"{what}{key} was {then.get(key, 'not known')!r} and is now {now.get(key, 'not known')!r}"
        for key in dict.fromkeys([*then, *now])
        if then.get(key) != now.get(key)
    ]
