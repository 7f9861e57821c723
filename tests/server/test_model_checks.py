"""The server checks a pre-trained model before it asks any node."""

import pytest

from speech.errors import ModelError
from tests.corpora import make_corpus
from tests.pretrained_models import tiny_model
from tests.server.in_process import federate, recipe


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    return tiny_model("whisper", tmp_path_factory.mktemp("whisper"))


def config_of(whisper, corpus, **changes):
    return recipe(
        corpus,
        **{
            "model.name": str(whisper),
            "model.seed": "base",
            "model.adapters": "*.decoder.*.fc1",
            "model.trainable": "adapters",
            "model.window": "short",
            "training.rounds": 1,
            "corpus.max-seconds": 4.0,
            "privacy.clip-bound": 0.2,
            **changes,
        },
    )


def test_a_model_that_cannot_be_trained_so_is_refused_before_any_node_is_asked(whisper, tmp_path):
    asked = []
    corpus = make_corpus(tmp_path, {"train": 1, "test": 1})
    with pytest.raises(ModelError, match=r"corpus\.max-seconds = 30: the model takes 4 seconds"):
        federate(
            config_of(whisper, corpus, **{"corpus.max-seconds": 30.0}),
            saw=lambda number, vector: asked.append(number),
        )
    assert not asked


def test_the_heading_compares_the_noise_with_the_bound(whisper, tmp_path, capsys):
    corpus = make_corpus(tmp_path, {"train": 1, "test": 1})
    federate(config_of(whisper, corpus))
    text = capsys.readouterr().out
    trained = 2 * 64 * 8  # layers, width of fc1, rank
    norm = 1.0 / 2.0 * 0.2 * trained**0.5  # z = 1, a cohort of 2
    assert f"norm {norm:.3g}, for {trained:,} trained parameters" in text
    assert "one speaker's update has at most 0.2" in text
