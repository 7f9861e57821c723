import json
import math
import os
import tomllib
from concurrent.futures import ThreadPoolExecutor

import pytest

from cli.composing import default_config, flatten
from recipes import ConfigError, RunConfig
from server.storage.run_folder import RunFolder
from strategies import RoundReport
from wire.raw_metrics import RawMetrics
from wire.traffic import Traffic

CONFIG = RunConfig.from_flat(default_config())


def test_the_configuration_is_kept_as_it_was(tmp_path):
    folder = RunFolder.create(CONFIG, "123456789")
    kept = tomllib.loads((folder.path / "config.toml").read_text())
    assert RunConfig.from_flat(flatten(kept)) == CONFIG


def test_latest_points_at_the_newest(tmp_path):
    first = RunFolder.create(CONFIG, "1000001")
    second = RunFolder.create(CONFIG, "1000002")
    latest = first.path.parent / "latest"
    assert latest.resolve() == second.path.resolve() != first.path.resolve()
    assert not os.path.isabs(os.readlink(latest))  # the folder may be moved as a whole


def test_runs_that_begin_in_the_same_second_have_a_folder_each(monkeypatch):
    monkeypatch.setattr("time.strftime", lambda form: "20261128-120000")
    with ThreadPoolExecutor() as threads:
        folders = list(threads.map(lambda _: RunFolder.create(CONFIG, "1234567"), range(8)))
    names = sorted(folder.path.name for folder in folders)
    assert names == ["20261128-120000-234567", *(f"20261128-120000-234567-{n}" for n in range(2, 9))]
    assert all((folder.path / "config.toml").exists() for folder in folders)
    runs = folders[0].path.parent
    assert (runs / "latest").resolve() in {folder.path.resolve() for folder in folders}
    assert not [left for left in runs.iterdir() if left.name.startswith(".")]


def test_metrics_are_strict_json_even_without_a_number(tmp_path):
    folder = RunFolder.create(CONFIG, "1")
    folder.append_metrics({"wer": math.nan, "epsilon": math.inf, "round": 1})
    line = (folder.path / "metrics.jsonl").read_text()
    assert json.loads(line) == {"wer": None, "epsilon": "inf", "round": 1}


def test_raw_metrics_have_a_file_of_their_own_that_says_what_it_is(tmp_path):
    folder = RunFolder.create(CONFIG, "1")
    names = ("weight", "bias")
    raw = RawMetrics(trained=2, train_loss=3.0, clipped_share=1.0, update_norms=(4.0, 0.0))
    folder.append_raw_metrics(names, 1, 7, raw)
    folder.append_raw_metrics(names, 2, 7, RawMetrics())
    first, *lines = map(json.loads, folder.not_private.read_text().splitlines())
    assert "No epsilon of this run covers them" in first["not_private"]
    assert first["tensors"] == ["weight", "bias"]
    sizes = {"train_loss": 1.5, "clipped_share": 0.5, "update_norms": [2.0, 0.0]}
    assert lines[0] == {"round": 1, "node": 7, "speakers": 2, **sizes}
    nothing = {"train_loss": None, "clipped_share": None, "update_norms": []}
    assert lines[1] == {"round": 2, "node": 7, "speakers": 0, **nothing}


def report_of(round_number):
    return RoundReport(
        round_number=round_number,
        drawn=2,
        nodes_asked=1,
        nodes_answered=1,
        learning_rate=1.0,
        statistics={},
        dropped=(),
        traffic=(Traffic(node=7, bytes_down=400, bytes_up=130),),
    )


def test_traffic_by_node_has_a_file_of_its_own_that_says_who_may_see_it(tmp_path):
    folder = RunFolder.create(CONFIG, "1")
    folder.append_traffic(report_of(3), 1.5)
    first, whole, line = map(json.loads, folder.traffic.read_text().splitlines())
    assert folder.traffic.stat().st_mode & 0o077 == 0
    assert "log with the server" in first["keep_secret"]
    assert (whole["round"], whole["drawn"], whole["bytes_up"], whole["seconds"]) == (3, 2, 130, 1.5)
    assert line == {"round": 3, "node": 7, "bytes_down": 400, "bytes_up": 130}


def test_only_the_newest_checkpoints_stay(tmp_path):
    folder = RunFolder.create(CONFIG, "1")
    for number in (9, 10, 11):
        folder.checkpoint(number).write_text("x")
    folder.drop_old_checkpoints()
    assert sorted(path.stem for path in (folder.path / "checkpoints").iterdir()) == [
        "round-000010",
        "round-000011",
    ]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    config = RunConfig.from_flat({**default_config(), "run.folder": str(tmp_path / "file")})
    with pytest.raises(ConfigError, match=r"run.folder = .*file.* cannot be written"):
        RunFolder.create(config, "1")


def test_reports_of_an_earlier_end_do_not_stay_beside_a_newer_model(tmp_path):
    folder = RunFolder.create(CONFIG, "1")
    said = (folder.summary, folder.card, folder.evaluation)
    for file in (*said, folder.metrics):
        file.write_text("{}\n")
    folder.reopen()
    assert not any(file.exists() for file in said)
    assert folder.metrics.exists()


def test_the_traffic_of_all_rounds_is_that_of_a_resumed_run_too(tmp_path):
    folder = RunFolder.create(CONFIG, "1")
    assert folder.traffic_of_all_rounds() == (0, 0)
    for number in (1, 2, 2):
        folder.append_traffic(report_of(number), 1.5)
    assert folder.traffic_of_all_rounds() == (1200, 390)
