"""Metrics without noise, which a simulation may ask for, reach a file of their own and the live view."""

import json
from dataclasses import replace

import pytest
import torch
from flwr.app import MessageType

from server.federation import run_federation
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
