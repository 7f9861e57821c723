import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from cli.main import app
from cli.report.public import SETTINGS
from cli.track import public_run
from cli.track.public_run import new_lines, public_settings
from cli.track.trackers import TRACKERS

CONFIG = """
[corpus]
path = "/home/ann/ward"
[training]
rounds = 2
cohort = 3.0
[privacy]
population-name = "ward-7"
noise-multiplier = 0.5
noise-seed = 615
[server]
anchor-corpus = "of-ann"
anchor-steps = 1
[model]
seed = "/home/ann/seed.safetensors"
"""
SECRETS = ("ann", "ward", "615", "drawn")


def line(number, **changes):
    epsilons = {"epsilon_rdp_this_run": float(number), "epsilon_rdp_extrapolated": 0.5}
    rates = {"version": 1, "round": number, "loss": 3.0, "wer": 0.5 - number / 10, "cer": 0.25}
    return json.dumps({**rates, **epsilons, "privacy": "see ledger.jsonl", **changes}) + "\n"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "runs" / "20261129-1"
    made.mkdir(parents=True)
    (made / "config.toml").write_text(CONFIG)
    (made / "metrics.jsonl").write_text(line(0) + line(1, wer=None) + line(2, epsilon_rdp_this_run="inf"))
    (made / "traffic.jsonl").write_text('{"round": 1, "drawn": 615}\n')
    (made / "not_private.jsonl").write_text('{"round": 1, "node": 615, "train_loss": 615.0}\n')
    save_file({"head.weight": np.array([1.0, 3.0], np.float32)}, made / "model.safetensors")
    return made


def murmur(*arguments):
    return CliRunner().invoke(app, ["track", *(str(one) for one in arguments)])


class Kept:
    """A tracker that keeps what it is given."""

    place, histograms = "here", True

    def __init__(self, out, name, settings):
        self.name, self.settings, self.rounds, self.tensors, self.closed = name, dict(settings), [], {}, False

    def log(self, number, values):
        self.rounds.append((number, dict(values)))

    def histogram(self, number, name, values):
        self.tensors[name] = (number, values.tolist())

    def close(self):
        self.closed = True


def test_a_tracker_gets_the_public_numbers_and_nothing_else(folder, monkeypatch):
    kept = []
    monkeypatch.setitem(TRACKERS, "kept", lambda *given: kept.append(Kept(*given)) or kept[0])
    done = murmur(folder, "--to", "kept")
    assert (done.exit_code, done.stdout) == (0, "kept: here\n"), done.output
    (one,) = kept
    assert one.name == folder.name and one.closed
    assert one.settings["training.cohort"] == 3.0 and one.settings["privacy.noise-multiplier"] == 0.5
    assert one.rounds[1] == (
        1,
        {"loss": 3.0, "cer": 0.25, "epsilon_rdp_this_run": 1.0, "epsilon_rdp_extrapolated": 0.5},
    )
    assert "epsilon_rdp_this_run" not in one.rounds[2][1]
    assert one.tensors == {"model/head.weight": (2, [1.0, 3.0])}
    assert not any(secret in f"{one.settings}{one.rounds}" for secret in SECRETS)


def test_following_gives_each_round_once_and_ends_with_the_run(folder, monkeypatch):
    def append(text):
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(text)

    def end():
        (folder / "evaluation.json").touch()

    pauses = iter(
        [lambda: None, lambda: append(line(1, resumed=True, wer=0.3)), lambda: append(line(2)), end]
    )
    monkeypatch.setattr(public_run.time, "sleep", lambda seconds: next(pauses)())
    found = [(one.round, one.wer) for one in new_lines(folder, follow=True)]
    assert [number for number, _ in found] == [0, 1, 2, 1, 2]
    assert math.isnan(found[1][1]) and found[3][1] == 0.3


def test_only_the_settings_of_a_public_report_are_given(folder):
    found = public_settings(folder)
    assert (found["training.rounds"], found["privacy.noise-multiplier"], found["server.anchor-steps"]) == (
        2,
        0.5,
        1,
    )
    assert set(found) <= set(SETTINGS)
    assert not {"model.seed", "privacy.population-name", "privacy.noise-seed", "server.anchor-corpus"} & set(
        found
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "excel"], "--to excel: there are tensorboard, mlflow, wandb"),
        (["--to", "missing"], "--to missing: .*pip install 'murmuration\\[missing\\]'"),
    ],
)
def test_what_cannot_be_tracked_is_one_sentence(folder, monkeypatch, arguments, words):
    from cli.track import trackers

    monkeypatch.setitem(TRACKERS, "missing", lambda *_: trackers._library("no_such_library", "missing"))
    done = murmur(folder, *arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith("murmur track: ") and not (folder.parent.parent / "tracked").exists()
    assert re.search(words, done.stderr)


def test_tensorboard_has_scalars_and_histograms_and_a_second_call_replaces_them(folder):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed (the extra 'tensorboard')")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):
        done = murmur(folder, "--to", "tensorboard")
        assert done.exit_code == 0, done.output
    events = EventAccumulator(f"tracked/tensorboard/{folder.name}")
    events.Reload()
    assert [(one.step, round(one.value, 3)) for one in events.Scalars("wer")] == [(0, 0.5), (2, 0.3)]
    assert events.Histograms("model/head.weight")[0].histogram_value.sum == 4.0
    require_no_secret(Path("tracked"))


def test_mlflow_has_the_metrics_by_round(folder, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed (the extra 'mlflow')")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    done = murmur(folder, "--to", "mlflow")
    assert done.exit_code == 0, done.output
    client = mlflow.MlflowClient(tracking_uri=Path("tracked/mlflow").absolute().as_uri())
    experiment = client.get_experiment_by_name("murmuration").experiment_id
    (run,) = client.search_runs([experiment])
    history = client.get_metric_history(run.info.run_id, "wer")
    assert sorted((one.step, one.value) for one in history) == [(0, 0.5), (2, 0.3)]
    assert run.data.params["training.rounds"] == "2" and run.info.status == "FINISHED"


def test_weights_and_biases_keeps_it_offline(folder, monkeypatch):
    pytest.importorskip("wandb", reason="Weights & Biases is not installed (the extra 'wandb')")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    done = murmur(folder, "--to", "wandb")
    assert done.exit_code == 0, done.output
    (file,) = Path("tracked/wandb").glob("offline-run-*/run-*.wandb")
    content = file.read_bytes()
    assert b"epsilon_rdp_this_run" in content and b"head.weight" in content
    require_no_secret(Path("tracked"))


def require_no_secret(written):
    for file in written.rglob("*"):
        content = file.read_bytes() if file.is_file() and not file.is_symlink() else b""
        assert not any(secret.encode() in content for secret in ("/home/ann", "ward-7", "drawn"))
