"""A run that keeps an average trains and spends as one without, and keeps the same one after a crash."""

import pytest
import torch

from optim.averaging import Averaging
from privacy import read_ledger
from recipes import RunConfig
from recipes.run_config import known_keys
from server.averaging import ModelAverage
from server.errors import ResumeRefused
from server.storage.checkpoints import fixed_settings, load_checkpoint, recipe_differences
from server.storage.run_folder import RunFolder
from speech.model.checkpoint import load_model
from tests.corpora import make_corpus
from tests.server.in_process import federate, recipe
from tests.server.test_run_identity import crash_after

# All are drawn in each round, so with repeatable noise the whole run repeats.
REPEATABLE = {
    "model.seed": "embedded",
    "training.cohort": 5.0,
    "privacy.noise-source": "seeded-not-private",
    "run.checkpoint-every": 1,
    "run.sentences-shown": 0,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"), {"train": 5, "test": 1}, utterances=1)


def settings(rule):
    return {"server.averaging": rule, "server.averaging-decay": 0.3, "server.averaging-share": 0.5}


@pytest.fixture(scope="module")
def runs(corpus, tmp_path_factory):
    """By rule: the run folder, and the models that nodes got, by round."""
    found = {}
    for rule in ("none", "ema", "tail"):
        models = {}
        place = {"run.folder": str(tmp_path_factory.mktemp(rule))}
        folder = federate(
            recipe(corpus, **REPEATABLE, **settings(rule), **place),
            saw=lambda number, vector, models=models: models.update({number: vector.clone()}),
        )
        newest = load_checkpoint(RunFolder(folder).newest_checkpoint())
        found[rule] = folder, models | {5: newest.tensors["vector"]}, newest
    return found


def kept_model(folder):
    """The parameters of model.safetensors (d,), in the order of the model."""
    model = load_model(folder / "model.safetensors").model
    return torch.cat([value.detach().flatten() for value in model.parameters()])


@pytest.mark.parametrize("rule", ["ema", "tail"])
def test_rounds_and_spending_are_those_of_a_run_without_an_average(runs, rule):
    (plain, models, _), (folder, found, _) = runs["none"], runs[rule]
    assert all(torch.equal(found[number], models[number]) for number in range(1, 6))
    spent = [
        [(entry.round, entry.release) for entry in read_ledger(one / "ledger.jsonl")]
        for one in (plain, folder)
    ]
    assert spent[0] == spent[1] and len(spent[0]) == 4


def test_the_kept_model_is_the_average_of_the_released_models(runs):
    _, models, _ = runs["none"]
    assert torch.equal(kept_model(runs["none"][0]), models[5])
    torch.testing.assert_close(kept_model(runs["tail"][0]), (models[4] + models[5]) / 2)
    average = models[1]
    for number, decay in ((2, 2 / 11), (3, 3 / 12), (4, 0.3), (5, 0.3)):
        average = decay * average + (1 - decay) * models[number]
    torch.testing.assert_close(kept_model(runs["ema"][0]), average)
    assert not torch.equal(average, models[5])


def test_card_and_summary_name_the_average(runs):
    for rule, words in (
        ("ema", "exponential moving average of the models of rounds 1 to 4, decay 0.3"),
        ("tail", "mean of the models of rounds 3 to 4"),
    ):
        assert f"Its trained parameters are the {words}." in (runs[rule][0] / "card.md").read_text()
        assert f"evaluated and kept: {words}" in (runs[rule][0] / "summary.txt").read_text()
    assert "average" not in (runs["none"][0] / "card.md").read_text()


def test_without_an_average_nothing_more_is_held_or_written(runs):
    assert "average" not in runs["none"][2].tensors and "average" in runs["ema"][2].tensors
    assert ModelAverage(Averaging(), torch.zeros(3), 4).state_dict() == {}


def test_a_resumed_run_keeps_the_same_model_to_the_bit(corpus, runs):
    changes = {**REPEATABLE, **settings("ema")}
    folder = crash_after(corpus, 2, **changes)
    federate(recipe(corpus, **changes, **{"run.resume": str(folder)}))
    assert torch.equal(kept_model(folder), kept_model(runs["ema"][0]))


def test_the_vector_is_back_after_a_failed_evaluation():
    vector = torch.zeros(3)
    average = ModelAverage(Averaging(rule="ema"), vector, 4)
    vector.fill_(1.0)
    average.add(1)
    with pytest.raises(KeyboardInterrupt), average.in_place():
        assert not torch.equal(vector, torch.ones(3))
        raise KeyboardInterrupt
    assert torch.equal(vector, torch.ones(3))


def test_a_run_of_a_release_without_averages_goes_on_without_one(corpus):
    now = fixed_settings(recipe(corpus))
    then = {key: value for key, value in now.items() if not key.startswith("server.averaging")}
    assert recipe_differences(then, now) == []
    changed = fixed_settings(RunConfig.from_flat(recipe(corpus).to_flat() | {"server.averaging": "ema"}))
    assert recipe_differences(then, changed) == ["server.averaging was 'none' and is now 'ema'"]
    assert {"server.averaging", "server.averaging-decay"} <= set(known_keys())


def test_a_checkpoint_without_the_average_is_refused():
    with pytest.raises(ResumeRefused, match=r"server.averaging = 'tail'.*no average"):
        ModelAverage(Averaging(rule="tail"), torch.zeros(3), 4).load_state_dict({"vector": torch.zeros(3)})
