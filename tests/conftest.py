"""What all tests share: one torch thread, quiet Flower, and a home of their own."""

import os
from pathlib import Path

os.environ.update(
    FLWR_TELEMETRY_ENABLED="0",
    FLWR_DISABLE_UPDATE_CHECK="1",
    FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION="1",
    RAY_USAGE_STATS_ENABLED="0",
    OMP_NUM_THREADS="1",
    OMP_WAIT_POLICY="passive",
    # Machine code is the same in every test: the processes that they start need not all make it.
    NUMBA_CACHE_DIR=str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "kernels"),
)

import hypothesis
import pytest
import torch

torch.set_num_threads(1)
# How long an example takes is no property of the code; the first one may compile a loop.
hypothesis.settings.register_profile("no-deadline", deadline=None)
hypothesis.settings.load_profile("no-deadline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that the processes which share the tests end at the same time."""
    items.sort(key=lambda item: item.get_closest_marker("federation") is None)


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes into the checkout's `runs/`, or the person's `~/.flwr` or `~/.cache`."""
    monkeypatch.setenv("MURMUR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "flwr"))
