"""Keys of the run configuration that had another name in an earlier release, or that it did not have.

The files of a run (config.toml, checkpoints) keep the names of the release that wrote them. They are read
with the present names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRESENT_KEYS = {
    "model.preset": "model.name",
    "privacy.people": "privacy.population-name",
    "privacy.grid-bits": "privacy.quantisation-bits",
}

AS_BEFORE: Mapping[str, Any] = {"server.averaging": "none", "local.clip": "batch"}
"""Settings that change what is learnt, with the value that says what releases without them did."""


def with_present_keys(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flat settings of a run of this release or an earlier one, under the present keys."""
    return {PRESENT_KEYS.get(key, key): value for key, value in flat.items()}
