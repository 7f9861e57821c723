"""Metrics without noise, which a simulation may ask for, reach a file of their own and the live view; metrics
with noise reach metrics.jsonl and that view."""

import json
from dataclasses import replace

import pytest
import torch
from flwr.app import MessageType

from optim.flat_model import layout_of
from privacy.layer_groups import layer_groups
from server.federation import run_federation
from server.report.metrics_lines import read_metrics
from server.report.run_view import RunView
from speech.model.ctc_transformer import build_model
from tests.corpora import make_corpus
from tests.server.in_process import part_of, recipe
from tests.strategies.federation import answer_to
from tests.strategies.flower import FakeGrid
from wire.messages import Task
from wire.raw_metrics import RawMetrics

TENSORS = len(list(build_model("tiny", seed=0).parameters()))


def node(message):
    if message.metadata.message_type == MessageType.QUERY:
        return part_of(message, 3, "speech")
    task, vector = Task.from_message(message)
    answer = answer_to(task, lambda number: torch.zeros(vector.numel()))
    raw = RawMetrics(trained=2, update_norms=(14.0,) * TENSORS) if task.raw_metrics else None
    return replace(answer, raw=raw).to_record()


@pytest.mark.parametrize("asked", [True, False])
def test_they_reach_their_file_and_the_live_view_if_asked_for(tmp_path, monkeypatch, asked):
    corpus = make_corpus(tmp_path, {"train": 3, "test": 2}, utterances=1)
    views, add = [], RunView.add
    monkeypatch.setattr(RunView, "add", lambda view, row: views.append(view) or add(view, row))
    changes = {
        "run.raw-metrics": asked,
        "training.rounds": 1,
        "training.cohort": 3.0,
        "run.folder": str(tmp_path),
    }
    folder = run_federation(FakeGrid({1: node}), recipe(corpus, **changes), run_id="1")
    file = folder / "not_private.jsonl"
    assert file.exists() == asked
    text = "\n".join(line.plain for line in views[-1].lines(100, 40).renderables)
    assert ("without noise, no epsilon" in text) == asked
    if asked:
        names, line = map(json.loads, file.read_text().splitlines())
        assert len(names["tensors"]) == TENSORS and line["update_norms"][0] == 7.0
        assert {"frontend", "blocks.1", "output"} <= {
            row.split()[0] for row in text.splitlines() if row.split()
        }


@pytest.mark.parametrize("asked", [True, False])
def test_a_private_run_has_the_noised_ones_by_group_in_their_place(tmp_path, monkeypatch, asked):
    """Signal to noise comes from the release in any case; norms and clipping if the run releases them."""
    corpus = make_corpus(tmp_path, {"train": 3, "test": 2}, utterances=1)
    views, add = [], RunView.add
    monkeypatch.setattr(RunView, "add", lambda view, row: views.append(view) or add(view, row))
    layout = layout_of(build_model("tiny", seed=0))

    def noised_node(message):
        if message.metadata.message_type == MessageType.QUERY:
            return part_of(message, 3, "speech")
        task, vector = Task.from_message(message)
        return answer_to(task, lambda number: torch.full((len(vector),), 1e-3), layout=layout).to_record()

    changes = {
        "privacy.group-statistics": asked,
        "privacy.noise-multiplier": 1e-4,
        "privacy.epsilon-budget": 0.0,
        "training.rounds": 1,
        "training.cohort": 3.0,
        "run.folder": str(tmp_path),
    }
    folder = run_federation(FakeGrid({1: noised_node}), recipe(corpus, **changes), run_id="1")
    assert not (folder / "not_private.jsonl").exists()
    seed, line = read_metrics(folder)
    groups = layer_groups(layout)
    names = {group.name for group in groups}
    assert seed.group_signal_to_noise is None and set(line.group_signal_to_noise) == names
    text = "\n".join(line.plain for line in views[-1].lines(100, 40).renderables)
    assert ("norm, clipped, signal/noise" in text) == asked and "signal/noise" in text
    assert {name.split()[0] for name in names} <= {row.split()[0] for row in text.splitlines() if row.split()}
    if not asked:
        assert line.group_update_norm_noised is None and line.group_clipped_share_noised is None
        return
    sizes = {group.name: sum(layout.sizes[one] for one in group.tensors) for group in groups}
    for name, norm in line.group_update_norm_noised.items():
        assert norm == pytest.approx(1e-3 * sizes[name] ** 0.5, rel=0.2)
    assert set(line.group_clipped_share_noised) == names
    assert line.measured[f"group_update_norm_noised/{groups[0].name}"] > 0
