"""What a checkpoint of a federation is: the one module that knows its format.

One safetensors file: the tensors of the strategy (the model vector, the optimiser's state) and, as metadata,
the round after which they stood, what they belong to, the id of the run, the lineage of its seed model, the
stamp `privacy` of its model, and the head of the privacy ledger at that time. The schedule's position is the
round, and the optimiser counts its own steps.

Guarantee: a path holds a whole checkpoint or nothing (temporary file, fsync, rename, fsync of the folder);
nothing in it is older than its ledger entry; no noise key is ever in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
from server.errors import ResumeRefused

FORMAT = "murmuration-federation-3"
READ_TOO = ("murmuration-federation-2",)  # of runs without an id, whose lineage nobody wrote down
UNFINISHED = ".partial"

MAY_CHANGE = (
    *("run.", "corpus.path", "corpus.feature-cache", "model.seed", "privacy.extrapolate-", "local.compile"),
    "privacy.uncounted",
    *("training.evaluate-every", "training.min-nodes", "training.wait-seconds"),
    *("training.round-deadline-seconds", "training.min-answers"),
    *("local.processor-seconds", "local.memory-megabytes"),
)
"""Keys of the recipe (or their beginnings) that a resumed run may set anew: they change neither what is
learnt from whom nor what is promised. The data set and the model are compared by themselves."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a checkpoint belongs to; a run may go on from it only if all of this is the same."""

    preset: str
    layout: str
    dataset: str
    plan: Mapping[str, Any]
    recipe: Mapping[str, Any]
    frozen: str = ""

    @classmethod
    def of(
        cls, config: RunConfig, plan: PrivacyPlan, layout: str, dataset: str, frozen: str = ""
    ) -> Identity:
        """The identity of a run of `config`; `layout`, `dataset` and `frozen` are digests."""
        return cls(
            preset=config.model.preset,
            layout=layout,
            dataset=dataset,
            plan=json.loads(json.dumps(asdict(plan))),  # as it will come back from the file
            recipe=fixed_settings(config),
            frozen=frozen,
        )

    def differences(self, now: Identity) -> list[str]:
        """What is not the same `now`, in words: the name, what it was and what it is."""
        return [
            *_compare("", {"model preset": self.preset}, {"model preset": now.preset}),
            *_compare("", {"model layout": self.layout}, {"model layout": now.layout}),
            *_compare("", {"frozen parameters": self.frozen}, {"frozen parameters": now.frozen}),
            *_compare("", {"data set": self.dataset}, {"data set": now.dataset}),
            *_compare("plan: ", _plan_of_now(self.plan), now.plan),
            *recipe_differences(self.recipe, now.recipe),
        ]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A federation as it stood after a round."""

    round_number: int
    identity: Identity
    ledger_head: str
    tensors: Mapping[str, Tensor]
    privacy: str
    run: str = ""  # empty in files from before runs had ids
    lineage: Lineage | None = None  # None in such files

    @property
    def plan(self) -> PrivacyPlan:
        """The plan that the run was made with."""
        return PrivacyPlan(**self.identity.plan)

    @property
    def people(self) -> str:
        """The name of the run's people in their ledger."""
        return str(self.identity.recipe.get("privacy.people") or self.identity.dataset)


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
    """Read a checkpoint; without its tensors that is the work of a moment.

    Raises:
        ResumeRefused: If the file is damaged or of another format.
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
            f"checkpoint {path} is of format {metadata.get('format')!r}, this release reads {FORMAT!r}: "
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
            f"checkpoint {path} does not say what it belongs to ({type(error).__name__}: {error}); delete it "
            "to resume from the one before it (the rounds in between stay spent)"
        ) from None


def _identity(text: str) -> Identity:
    """Raises `ValueError` or `TypeError` for what is none."""
    identity = Identity(**json.loads(text))
    for name in ("preset", "layout", "dataset", "frozen"):
        if not isinstance(getattr(identity, name), str):
            raise ValueError(f"its {name} is {getattr(identity, name)!r}")
    if not isinstance(identity.recipe, dict):
        raise ValueError(f"its recipe is {type(identity.recipe).__name__}")
    _ = PrivacyPlan(**identity.plan)
    return identity


def fixed_settings(config: RunConfig) -> dict[str, Any]:
    """The settings of a recipe that a resumed run must keep."""
    return {key: value for key, value in config.to_flat().items() if not key.startswith(MAY_CHANGE)}


def recipe_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The settings that are not the same; one that the release which wrote `then` did not have is none."""
    return _compare("", then, {key: value for key, value in now.items() if key in then})


def _plan_of_now(then: Mapping[str, Any]) -> Mapping[str, Any]:
    """A plan as a file has it, with what today's plans say beside."""
    known: dict[str, Any] = json.loads(json.dumps(asdict(PrivacyPlan(**then))))
    return known


def _compare(what: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        f"{what}{key} was {then.get(key, 'not known')!r} and is now {now.get(key, 'not known')!r}"
        for key in dict.fromkeys([*then, *now])
        if then.get(key) != now.get(key)
    ]
