"""TensorBoard, MLflow and Weights & Biases, each by its own logger; extras, of which none needs a network.

Where an environment variable of the library names a server (MLFLOW_TRACKING_URI, WANDB_MODE), the library
sends there; otherwise all of it stays in a folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

PROJECT = "murmuration"
EVENTS = "events.out.tfevents.*"
Settings = Mapping[str, bool | int | float | str]


class TrackError(ValueError):
    """Metrics cannot be given to a tracker; the message says why, and the remedy."""


class Tracker(Protocol):
    """Takes one run.

    Attributes:
        place: Where it keeps the run.
        histograms: Whether it takes tensors.
    """

    place: str
    histograms: bool

    def log(self, round_number: int, values: Mapping[str, float]) -> None:
        """Take the finite numbers of a round; a round that comes again replaces its numbers."""

    def histogram(self, round_number: int, name: str, values: NDArray[np.floating[Any]]) -> None:
        """Take a tensor of the model that was released after a round."""

    def close(self) -> None:
        """Write what is left."""


def _library(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise TrackError(
            f"--to {extra}: {error}; it needs an extra: pip install 'murmuration[{extra}]'"
        ) from None


class TensorBoard:
    """Event files of one run in OUT/tensorboard/NAME; those of an earlier call are replaced."""

    histograms = True

    def __init__(self, out: Path, name: str, settings: Settings) -> None:
        library = _library("torch.utils.tensorboard", "tensorboard")
        folder = out / "tensorboard" / name
        for old in folder.glob(EVENTS):
            old.unlink()
        self.place = str(folder)
        self._writer = library.SummaryWriter(self.place)
        rows = "".join(f"| {key} | {value} |\n" for key, value in settings.items())
        self._writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}")

    def log(self, round_number: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, round_number)
        self._writer.flush()

    def histogram(self, round_number: int, name: str, values: NDArray[np.floating[Any]]) -> None:
        """See `Tracker`."""
        self._writer.add_histogram(name, values, round_number)

    def close(self) -> None:
        """See `Tracker`."""
        self._writer.close()


class MLflow:
    """A run of the experiment "murmuration", in OUT/mlflow unless MLFLOW_TRACKING_URI is set."""

    histograms = False

    def __init__(self, out: Path, name: str, settings: Settings) -> None:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # else it takes a data base alone
        library = _library("mlflow", "mlflow")
        self._metric = library.entities.Metric
        uri = os.environ.get("MLFLOW_TRACKING_URI") or (out / "mlflow").absolute().as_uri()
        self._client = library.MlflowClient(tracking_uri=uri)
        found = self._client.get_experiment_by_name(PROJECT)
        experiment = found.experiment_id if found else self._client.create_experiment(PROJECT)
        self._run = self._client.create_run(experiment, run_name=name).info.run_id
        for key, value in settings.items():
            self._client.log_param(self._run, key, value)
        self.place = f"{uri}, run {self._run}"

    def log(self, round_number: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        metrics = [self._metric(name, value, 0, round_number) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def histogram(self, round_number: int, name: str, values: NDArray[np.floating[Any]]) -> None:
        """MLflow has none."""

    def close(self) -> None:
        """See `Tracker`."""
        self._client.set_terminated(self._run)


class WandB:
    """A run of the project "murmuration", in OUT/wandb; offline unless WANDB_MODE says otherwise."""

    histograms = True

    def __init__(self, out: Path, name: str, settings: Settings) -> None:
        self._library = _library("wandb", "wandb")
        out.mkdir(parents=True, exist_ok=True)
        self._run = self._library.init(
            project=PROJECT,
            name=name,
            dir=str(out),
            config=dict(settings),
            mode=os.environ.get("WANDB_MODE") or "offline",
            settings=self._library.Settings(
                console="off",
                silent=True,
                x_disable_stats=True,
                x_disable_meta=True,
                disable_git=True,
                save_code=False,
            ),
        )
        self._run.define_metric("*", step_metric="round")
        self.place = str(Path(self._run.dir).parent)

    def log(self, round_number: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._run.log({"round": round_number, **values})

    def histogram(self, round_number: int, name: str, values: NDArray[np.floating[Any]]) -> None:
        """See `Tracker`."""
        self._run.log({"round": round_number, name: self._library.Histogram(values)})

    def close(self) -> None:
        """See `Tracker`."""
        self._run.finish()
        self._library.teardown()  # which waits until its other process has written all


TRACKERS: dict[str, Callable[[Path, str, Settings], Tracker]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WandB,
}
