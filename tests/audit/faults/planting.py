"""What a planted fault is, and how to replace something wherever it is imported."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.audit.stage import Stage

ROOMS = ("privacy", "optim", "wire", "speech", "strategies", "server", "client", "tests.audit.stage")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault: once planted, a run of `recorded` and a replay on `replayed` must show one of `seen_as`.

    Without `recorded`, one run of `replayed` shows it, beside its plan. In `silent` are nodes that do not
    answer then. `test_replay` shows that the same runs are clean where nothing is planted.
    """

    name: str
    plant: Callable | None
    seen_as: Sequence[str]
    recorded: Stage | None
    replayed: Stage
    silent: tuple[int, ...] = ()


FAULTS: dict[str, Fault] = {}


def fault(
    name: str,
    *seen_as: str,
    recorded: Stage | None = Stage(),  # noqa: B008  (frozen)
    replayed: Stage = Stage(kind="ordinary speech"),  # noqa: B008
    silent: tuple[int, ...] = (),
):
    def register(plant):
        FAULTS[name] = Fault(
            name=name, plant=plant, seen_as=seen_as, recorded=recorded, replayed=replayed, silent=silent
        )
        return plant

    return register


def everywhere(patch, original, replacement) -> None:
    """Replace what `original` is called by in any room."""
    found = 0
    for name, module in list(sys.modules.items()):
        if name.startswith(ROOMS):
            for attribute, value in list(vars(module).items()):
                if value is original:
                    patch.setattr(module, attribute, replacement)
                    found += 1
    assert found, original
