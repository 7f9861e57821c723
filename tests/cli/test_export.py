import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from cli.main import app
from speech.model.checkpoint import save_model
from speech.model.ctc_transformer import build_model
from tests.corpora import make_corpus
from tests.server.in_process import federate, recipe, run_of_folder


def murmur(*arguments: object):
    return CliRunner().invoke(app, list(map(str, arguments)))


def metadata(path: Path) -> dict[str, str]:
    extra = {"murmuration.json": ""}
    torch.jit.load(str(path), _extra_files=extra)
    return json.loads(extra["murmuration.json"])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    corpus = make_corpus(tmp_path / "c", {"train": 5, "test": 2})
    return federate(recipe(corpus, **{"training.rounds": 1}))


def test_a_run_leaves_with_its_guarantee_inside_and_its_card_beside(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.pt"
    done = murmur("export", "--run", run, out, "--licence", "cc-by-4.0")
    assert done.exit_code == 0, done.output
    assert "log-probabilities within" in done.stdout
    told = metadata(out)
    assert told["licence"] == "cc-by-4.0"
    assert (
        told["privacy"].startswith("epsilon ")
        and f"from the ledger of run {run_of_folder(run)[:8]}" in told["privacy"]
    )
    card = (tmp_path / "model.card.md").read_text()
    assert "license: cc-by-4.0" in card
    assert murmur("card", "--run", run, "--licence", "cc-by-4.0").stdout == card


def test_a_model_of_no_federation_promises_nothing(tmp_path: Path) -> None:
    model = tmp_path / "m.safetensors"
    save_model(model, build_model("tiny", seed=0), "tiny")
    assert murmur("export", "--model", model, tmp_path / "m.pt").exit_code == 0
    told = metadata(tmp_path / "m.pt")
    assert told["privacy"] == "none: not a model of a federation" and "must choose one" in told["licence"]
    assert not list(tmp_path.glob("*.md"))


def test_what_cannot_be_written_is_refused_before_anything_is(run: Path, tmp_path: Path) -> None:
    for name, message in (("m.tflite", "no known format"), ("absent/m.pt", "there is no folder")):
        done = murmur("export", "--run", run, tmp_path / "m.pt", tmp_path / name)
        assert done.exit_code == 2 and message in done.stderr and done.stdout == ""
        assert not (tmp_path / "m.pt").exists()


def test_the_card_of_a_run_is_written_where_it_is_wanted(run: Path, tmp_path: Path) -> None:
    assert murmur("card", "--run", run, "--out", tmp_path / "README.md").stdout == ""
    assert (tmp_path / "README.md").read_text() == (run / "card.md").read_text()
    missing = murmur("card", "--run", tmp_path)
    assert missing.exit_code == 2 and "the run has not finished" in missing.stderr


def test_an_evaluation_that_lacks_something_of_a_card_is_one_error(run: Path) -> None:
    whole = json.loads((run / "evaluation.json").read_text())
    without = {name: value for name, value in whole["wer"].items() if name != "interval"}
    for found, fault in (
        ({}, "has no 'split'"),
        (whole | {"wer": without}, "has no 'wer.interval'"),
        (whole | {"speaker_wer_quantiles": {"0": 0.1, "1": 0.2}}, "has no 'speaker_wer_quantiles.0.5'"),
        (whole | {"hours": "two"}, "'hours': Input should be a valid number"),
    ):
        (run / "evaluation.json").write_text(json.dumps(found))
        done = murmur("card", "--run", run)
        assert done.exit_code == 2 and done.stdout == ""
        assert f"evaluation.json: {fault}" in done.stderr and "restore it from a copy" in done.stderr
