"""The card says what the run folder says; each number is compared with where it comes from."""

import json
from pathlib import Path

import pytest
import yaml

from cli.composing import config_of_run
from privacy import PrivacyPlan, epsilon_text
from recipes import ConfigError
from server.report.model_card import model_card
from server.report.model_facts import ModelFacts
from server.storage.run_folder import RunFolder
from server.storage.run_ids import short
from speech.corpora.loading import load_corpus
from tests.corpora import make_corpus
from tests.server.in_process import SPEAKERS, federate, recipe, run_of_folder

ROUNDS = 2


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return make_corpus(tmp_path / "digits", {"train": 5, "test": 3}, utterances=2)


def run(corpus: Path, run_id: str = "1", **changes: object) -> RunFolder:
    return RunFolder(federate(recipe(corpus, **{"training.rounds": ROUNDS, **changes}), run_id=run_id))


def again(folder: RunFolder, licence: str | None = None) -> str:
    """The card, from the folder as it is now."""
    return model_card(folder, config_of_run(folder.path), licence)


def header(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_every_run_leaves_its_card_with_the_ledgers_epsilon_and_what_it_was_computed_from(corpus):
    folder = run(corpus, **{"privacy.noise-multiplier": 0.5})
    card = folder.card.read_text()
    assert card == again(folder)
    plan = PrivacyPlan(population=sum(SPEAKERS), cohort=2.0, rounds=ROUNDS, noise_multiplier=0.5, delta=1e-6)
    spent = plan.epsilon()
    assert "| epsilon for a person on 2 devices | " in card and "| zCDP rho | " in card
    assert f"**{epsilon_text(spent.value)}** (RDP {epsilon_text(spent.rdp)}, PLD" in card
    assert spent.pld is not None and f"PLD {epsilon_text(spent.pld)})" in card
    for row in (
        "| delta | 1e-06 |",
        "| adjacency | zero-out / add-or-remove one speaker |",
        "| sampler | Poisson |",
        "| population N | 5 |",
        "| expected cohort S | 2 |",
        f"| releases in the ledger | {ROUNDS} |",
        "| noise multiplier z, on the sum | 0.5 |",
        "| noise on the mean, z / S | 0.25 |",
    ):
        assert row in card
    larger = plan.extrapolate(1_000_000, 1024).epsilon()
    scale = "with a population of 1,000,000 and a cohort of 1,024"
    assert f"**not this run**: the same noise on the mean {scale} would give epsilon " in card
    assert f"epsilon {epsilon_text(larger.value)} (RDP {epsilon_text(larger.rdp)}, PLD" in card
    assert spent.value > 10 and "it gives little protection" in card
    assert "differential-privacy" not in header(card)["tags"]
    assert "Other runs" not in card


def test_a_guarantee_worth_the_name_is_tagged_and_not_called_weak(corpus):
    card = run(corpus, **{"privacy.noise-multiplier": 20.0}).card.read_text()
    assert "differential-privacy" in header(card)["tags"] and "little protection" not in card


def test_error_rates_and_their_intervals_are_those_of_the_evaluation(corpus):
    folder = run(corpus)
    found, card = json.loads(folder.evaluation.read_text()), folder.card.read_text()
    assert (found["speakers"], found["utterances"], found["speakers_in_training"]) == (3, 6, 0)
    wer = found["wer"]
    assert wer["interval"]["low"] <= wer["rate"] <= wer["interval"]["high"]
    assert f"| {100 * wer['rate']:.1f} % | {100 * wer['interval']['low']:.1f} to " in card
    name = f"corpus of run {short(run_of_folder(folder.path))} (manifest)"
    assert f"{name}, split `test`, 3 speakers, 6 utterances" in card.replace("\\", "")
    assert "digits" not in card and str(corpus.parent.parent) not in card  # where speech lies is not told
    last = json.loads(folder.metrics.read_text().splitlines()[-1])
    assert last["wer"] == pytest.approx(wer["rate"])
    result = header(card)["model-index"][0]["results"][0]
    assert result["metrics"][0] == {"type": "wer", "name": "WER", "value": round(100 * wer["rate"], 2)}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"privacy.noise-multiplier": 0.0}, "it adds no noise"),
        ({"privacy.noise-source": "seeded-not-private"}, "its noise can be repeated from a seed"),
    ],
)
def test_a_run_without_privacy_says_so_and_shows_no_epsilon(corpus, changes, why):
    folder = run(corpus, **changes)
    card = folder.card.read_text()
    assert f"**privacy: none. This run protects nobody: {why}.**" in card
    assert "epsilon" not in card and "differential-privacy" not in card
    assert (
        ModelFacts.of(folder, config_of_run(folder.path)).privacy == f"none. This run protects nobody: {why}"
    )


def test_other_runs_on_the_same_population_are_added_up(corpus):
    run(corpus, run_id="1000001")
    card = run(corpus, run_id="1000002").card.read_text()
    both = PrivacyPlan(population=5, cohort=2.0, rounds=2 * ROUNDS, noise_multiplier=1.0, delta=1e-6)
    assert f"Other runs on the same speakers made {ROUNDS} releases. All runs together: epsilon " in card
    assert f"RDP {epsilon_text(both.epsilon().rdp)}, PLD" in card


def test_what_is_missing_is_said_to_be_missing(corpus):
    folder = run(corpus)
    folder.evaluation.unlink()
    card = again(folder)
    assert "Error counts and intervals are missing" in card and "After round 2: WER" in card
    assert "model-index" not in header(card)
    folder.metrics.unlink()
    assert "WER and CER of this model are missing" in again(folder)
    assert "hours: missing" in card
    assert header(card)["license_name"] == "not-chosen" and "must choose one" in card


def test_a_chosen_licence_is_in_the_header_and_in_the_text(corpus):
    card = again(run(corpus), licence="cc-by-4.0")
    assert header(card)["license"] == "cc-by-4.0" and "license_name" not in header(card)
    assert "## Licence\n\ncc-by-4.0.\n" in card


def test_a_run_of_an_older_release_has_a_card_too(corpus):
    folder = run(corpus)
    written = folder.path / "config.toml"
    written.write_text(written.read_text().replace('language = "en"\n', ""))
    assert again(folder) == folder.card.read_text()


def test_what_released_nothing_has_no_card(corpus, tmp_path):
    with pytest.raises(ConfigError, match="not the folder of a run that released a model"):
        model_card(RunFolder(tmp_path), recipe(corpus))


@pytest.mark.parametrize("own_speech", [True, False])
def test_speech_that_stayed_on_its_nodes_is_not_called_synthetic(corpus, own_speech):
    """A deployment is scored on the shipped corpus by default; its nodes hold real recordings."""
    dataset = "the patients of a clinic" if own_speech else load_corpus("embedded", "").digest
    settings = {"corpus.kind": "embedded", "corpus.path": "", "training.rounds": 1}
    folder = RunFolder(federate(recipe(corpus, **settings), dataset=dataset, synthetic=not own_speech))
    card, summary = folder.card.read_text(), (folder.path / "summary.txt").read_text()
    assert ("Training: speech that stayed on its nodes" in card) == own_speech
    assert ("no recording of a person" in card) == (not own_speech)
    assert ("on these speakers add up" in summary) == own_speech
    assert ("on these synthetic speakers add up" in summary) == (not own_speech)
    assert card == again(folder)


def test_names_that_others_chose_are_text_on_the_card(corpus):
    """A run folder that came from elsewhere names its corpus, its split and its licence as it likes."""
    folder = run(corpus)
    config = config_of_run(folder.path)
    named = {
        "kind": "![x](http://e.org)<b>",
        "test_split": "`t` [y](z)\n# q",
    }
    hostile = config.model_copy(update={"corpus": config.corpus.model_copy(update=named)})
    card = model_card(folder, hostile, licence="[free](http://e.org)\n\n# epsilon 0.1")
    text = card.split("---\n")[2]
    assert "![x]" not in text and "\\<b\\>" in text
    assert "[y](z) # q`" in text and "`t`" not in text
    assert "\n# epsilon" not in text and "\\[free\\]" in text
    assert header(card)["license"] == "[free](http://e.org)\n\n# epsilon 0.1"
