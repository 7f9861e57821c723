from dataclasses import replace

import pytest
import torch

from cli.composing import default_config
from recipes import ConfigError, RunConfig
from server.evaluation import EvaluationPlace, HeldOut, ModelEvaluations
from server.storage.json_lines import read_lines
from speech.errors import CorpusError
from speech.evaluation.evaluation import Evaluation
from speech.evaluation.kept_batches import KeptBatches
from speech.model.ctc_transformer import CTCTransformer, build_model
from speech.model.recogniser import BatchEvaluation
from tests.corpora import make_corpus
from tests.server.in_process import federate, recipe


def section(manifest, **changes):
    flat = {**default_config(), "corpus.kind": "manifest", "corpus.path": str(manifest), **changes}
    return RunConfig.from_flat(flat).corpus


def test_held_out_speakers_are_those_of_the_test_split(tmp_path):
    held_out = HeldOut.of(section(make_corpus(tmp_path, {"train": 2, "test": 3})), build_model("tiny"))
    assert held_out.speakers == ("test-00", "test-01", "test-02")
    assert held_out.speakers_in_training == frozenset()


def test_error_rates_compare_what_the_recipe_says_and_the_summary_names_it(tmp_path):
    manifest = make_corpus(tmp_path, {"train": 2, "test": 2}, utterances=1)
    manifest.write_text(manifest.read_text().replace('"text": "o', '"text": "O'))
    model = build_model("tiny")
    plain = HeldOut.of(section(manifest), model)
    as_written = HeldOut.of(section(manifest, **{"corpus.normaliser": "none"}), model)
    found = as_written.evaluate(model)
    assert "One two" in found.references and "one two" in plain.evaluate(model).references
    assert as_written.summary(found)["normaliser"] == "none"
    assert plain.summary(plain.evaluate(model))["normaliser"] == "characters"
    assert all(one.written == "" for one in plain.store.corpus.all_utterances())


def test_the_server_evaluates_where_and_with_the_threads_that_the_recipe_says(tmp_path, monkeypatch):
    settings = {"run.evaluation-threads": 2, "run.evaluation-device": "cpu:0"}
    place = EvaluationPlace.of(RunConfig.from_flat({**default_config(), **settings}).run)
    model, before, seen = build_model("tiny"), torch.get_num_threads(), []
    held_out = HeldOut.of(section(make_corpus(tmp_path, {"train": 1, "test": 1})), model, place)

    def noted(self, batch, own=CTCTransformer.evaluate):
        seen.append((self is model, torch.get_num_threads()))
        return own(self, batch)

    monkeypatch.setattr(CTCTransformer, "evaluate", noted)
    copied = held_out.evaluate(model)
    assert copied == replace(held_out, place=EvaluationPlace(threads=before)).evaluate(model)
    assert seen == [(False, 2), (True, before)] and torch.get_num_threads() == before
    nowhere = RunConfig.from_flat({**default_config(), "run.evaluation-device": "nowhere"}).run
    with pytest.raises(ConfigError, match=r"run\.evaluation-device: .*nowhere"):
        EvaluationPlace.of(nowhere)


def test_speakers_who_are_in_training_are_named(tmp_path):
    manifest = make_corpus(tmp_path, {"train": 2, "test": 2})
    manifest.write_text(manifest.read_text().replace('"test-00"', '"train-00"'))
    shared = section(manifest, **{"corpus.shared-speakers": True})
    assert HeldOut.of(shared, build_model("tiny")).speakers_in_training == {"train-00"}


def test_a_speaker_in_two_splits_is_refused_unless_allowed(tmp_path):
    manifest = make_corpus(tmp_path, {"train": 2, "test": 2})
    manifest.write_text(manifest.read_text().replace('"test-00"', '"train-00"'))
    with pytest.raises(CorpusError, match=r"1 speaker in .* the first 'train-00' in 'test' and 'train'"):
        HeldOut.of(section(manifest), build_model("tiny"))


def test_a_missing_test_split_is_named_with_those_that_are_there(tmp_path):
    manifest = make_corpus(tmp_path, {"train": 2})
    with pytest.raises(CorpusError, match=r"no split 'test'; it has 'train'"):
        HeldOut.of(section(manifest), build_model("tiny"))


def test_sentences_pair_the_reference_with_the_transcripts_of_both_models():
    def evaluation(word):
        hypotheses = tuple(f"{word} {i}" for i in range(10))
        references = tuple(f"said {i}" for i in range(10))
        ids = tuple(map(str, range(10)))
        return Evaluation(loss=1.0, wer=0.5, cer=0.2, ids=ids, hypotheses=hypotheses, references=references)

    both = ModelEvaluations(held_out=None, seed=evaluation("seed"), newest=evaluation("final"))
    chosen = both.sentences(3)
    assert [(r.reference, r.by_seed, r.by_final) for r in chosen] == [
        (f"said {i}", f"seed {i}", f"final {i}") for i in (0, 3, 6)
    ]
    assert both.sentences(0) == []


def test_a_run_on_shared_speakers_reports_it_first_and_last(tmp_path, capsys):
    manifest = make_corpus(tmp_path, {"train": 5, "test": 2}, utterances=1)
    manifest.write_text(manifest.read_text().replace('"test-00"', '"train-00"'))
    folder = federate(recipe(manifest, **{"training.rounds": 1, "corpus.shared-speakers": True}))
    said = capsys.readouterr().out.strip()
    assert said.startswith("WARNING: 1 held-out speakers are also in the training data")
    assert "note: 1 held-out speakers are also in the training data" in said
    outside = "computed from their speech without noise, and no epsilon covers that"
    for told in ("summary.txt", "card.md"):
        assert outside in (folder / told).read_text()
    apart = federate(
        recipe(make_corpus(tmp_path / "apart", {"test": 2}, utterances=1), **{"training.rounds": 1})
    )
    assert outside not in (apart / "card.md").read_text()


def counted_utterances(monkeypatch):
    """The number of utterances that models evaluate, batch by batch."""
    seen, own = [], CTCTransformer.evaluate
    monkeypatch.setattr(
        CTCTransformer, "evaluate", lambda self, batch: seen.append(len(batch)) or own(self, batch)
    )
    return seen


def test_a_look_reads_a_part_that_is_spread_over_the_speakers_and_always_the_same(tmp_path):
    model = build_model("tiny", seed=0)
    corpus = section(make_corpus(tmp_path, {"train": 1, "test": 4}, utterances=4))
    held_out = HeldOut.of(corpus, model, share=0.25)
    whole, look = held_out.evaluate(model), held_out.look(model)
    assert [id.rpartition("-")[0] for id in look.ids] == [id.rpartition("-")[0] for id in whole.ids[::4]]
    assert look.ids == held_out.look(model).ids and len(look.ids) == 4
    assert look.hypotheses == tuple(
        text for text, id in zip(whole.hypotheses, whole.ids, strict=True) if id in look.ids
    )
    assert len(HeldOut.of(corpus, model, share=0.001).look(model).ids) == 1
    assert HeldOut.of(corpus, model).look(model) == whole


def test_rows_are_of_the_share_and_the_end_of_all_held_out_speech(tmp_path, monkeypatch, capsys):
    manifest = make_corpus(tmp_path, {"train": 4, "test": 4}, utterances=2)
    seen = counted_utterances(monkeypatch)
    folder = federate(recipe(manifest, **{"training.rounds": 2, "training.evaluate-share": 0.5}))
    assert seen == [8, 4, 4, 4, 8]
    assert "on 4 held-out speakers, 0.5 of their utterances; the summary has all" in capsys.readouterr().out
    assert [line["wer"] is not None for line in read_lines(folder / "metrics.jsonl")] == [True] * 3
    assert not list(folder.glob("*.partial"))


def test_an_interrupted_evaluation_goes_on_where_it_was(tmp_path, monkeypatch):
    model, file = build_model("tiny", seed=0), tmp_path / "kept.partial"
    held_out = HeldOut.of(section(make_corpus(tmp_path, {"train": 1, "test": 35}, utterances=1)), model)
    whole, seen = held_out.evaluate(model), counted_utterances(monkeypatch)
    own, calls = CTCTransformer.evaluate, iter([None])

    def once(self, batch):
        next(calls)
        return own(self, batch)

    monkeypatch.setattr(CTCTransformer, "evaluate", once)
    with pytest.raises(StopIteration):
        held_out.evaluate(model, file)
    monkeypatch.setattr(CTCTransformer, "evaluate", own)
    with file.open("a") as torn:
        torn.write('{"ids": ["test-')
    assert held_out.evaluate(model, file) == whole and sum(seen) == 35
    assert held_out.evaluate(model, file) == whole and sum(seen) == 35
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    other = held_out.evaluate(model, file)
    assert sum(seen) == 70 and other.loss != whole.loss


@pytest.mark.parametrize(
    "line", ["no JSON", '{"ids": ["u1"]}', '{"ids": 3, "losses": [], "counted": 1, "texts": []}']
)
def test_a_damaged_line_of_kept_results_means_that_none_is_used(tmp_path, line):
    file, result = tmp_path / "kept.partial", BatchEvaluation(losses=torch.ones(1), counted=1, texts=["turn"])
    KeptBatches(file, "key").add(["u1"], result)
    file.write_text(file.read_text() + line + "\n")
    assert KeptBatches(file, "key").find(["u1"]) is None
    assert file.read_text() == '{"key": "key"}\n'
