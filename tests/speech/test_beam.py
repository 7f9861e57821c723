import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import murmuration_data
from speech.corpora.loading import load_corpus
from speech.data.batching import bucketed_batches, collate
from speech.data.examples import ExampleStore
from speech.decoding import BeamConfig, BeamSearch, greedy, train_ngram
from speech.decoding.arpa import Unit
from speech.errors import LanguageModelError
from speech.evaluation.error_rates import word_error_rate
from speech.model.checkpoint import load_model
from speech.text import ENGLISH
from tests.speech.test_decoding import certain
from tests.speech.test_ngram import backed_off, parsed

SYMBOLS = "ab "


def language_model(folder: Path, sentences: list[str], unit: Unit, order: int = 3) -> Path:
    path = folder / f"{unit}.arpa"
    with path.open("w") as file:
        train_ngram(sentences, file, order=order, unit=unit, characters=ENGLISH.characters)
    return path


def few_symbols(frames: int, seed: int) -> Tensor:
    """Log-probabilities (1, frames, outputs) of 'a', 'b', the space and the blank; the rest is 0."""
    draw = torch.distributions.Dirichlet(torch.full((4,), 0.8))
    torch.manual_seed(seed)
    columns = [*map(ENGLISH.characters.index, SYMBOLS), ENGLISH.blank]
    log_probs = torch.full((1, frames, ENGLISH.num_outputs), -80.0)
    log_probs[0][:, columns] = draw.sample((frames,)).log()
    return log_probs


def likelihoods(log_probs: Tensor) -> dict[str, float]:
    """p(text | sound) of every text, by adding up all paths.

    Spaces are kept as they are, but a path that begins with one says the same as without it.
    """
    columns = [*map(ENGLISH.characters.index, SYMBOLS), ENGLISH.blank]
    frames = log_probs[0].exp()
    total: dict[str, float] = {}
    for path in itertools.product(range(4), repeat=len(frames)):
        symbols = [symbol for symbol, _ in itertools.groupby(path)]
        text = "".join(SYMBOLS[symbol] for symbol in symbols[symbols[0] == 2 :] if symbol != 3)
        probability = math.prod(float(frames[t, columns[symbol]]) for t, symbol in enumerate(path))
        total[text] = total.get(text, 0.0) + probability
    return total


@pytest.mark.parametrize("seed", range(5))
def test_without_a_language_model_the_text_is_the_most_probable_of_all(seed: int) -> None:
    log_probs = few_symbols(5, seed)
    best = max(likelihoods(log_probs).items(), key=lambda item: item[1])[0]
    found = BeamSearch(ENGLISH, BeamConfig(beam=500))(log_probs, torch.tensor([5]))
    assert found == [" ".join(best.split())]


@pytest.mark.parametrize("seed", range(5))
def test_a_character_model_counts_as_in_the_formula(seed: int, tmp_path: Path) -> None:
    path = language_model(tmp_path, ["ab ba", "b ab", "ba"], "character", order=2)
    model = parsed(path.read_text())

    def score(text: str, likelihood: float) -> float:
        tokens = ["<s>", *text.replace(" ", "|"), "</s>"]
        prior = sum(backed_off(model, pair) for pair in itertools.pairwise(tokens))
        return math.log(likelihood) + 0.7 * prior

    log_probs = few_symbols(5, seed)
    best = max(likelihoods(log_probs).items(), key=lambda item: score(*item))[0]
    found = BeamSearch(ENGLISH, BeamConfig(beam=500, lm_weight=0.7), path)(log_probs, torch.tensor([5]))
    assert found == [" ".join(best.split())]


def test_a_model_of_words_writes_only_words_that_it_knows(tmp_path: Path) -> None:
    path = language_model(tmp_path, ["turn the light on", "turn the fan off"], "word")
    outputs = certain(["tturn__ thhe fan on"])[:2]
    assert BeamSearch(ENGLISH, language_model=path)(*outputs) == ["turn the fan on"]
    assert BeamSearch(ENGLISH, language_model=path)(*certain(["turm_ the fun of_f"])[:2]) == [
        "turn the fan off"
    ]
    assert BeamSearch(ENGLISH, language_model=path)(*certain(["___"])[:2]) == [""]


def test_a_word_bonus_makes_more_words(tmp_path: Path) -> None:
    path = language_model(tmp_path, ["a b", "ab", "ab"], "word")
    log_probs, lengths, _ = certain(["a_b"])
    few, many = (
        BeamSearch(ENGLISH, BeamConfig(word_bonus=bonus), path)(log_probs, lengths)[0]
        for bonus in (0.0, 30.0)
    )
    assert len(few.split()) == 1 < len(many.split())


def test_padding_is_not_read_and_a_batch_is_its_utterances() -> None:
    search = BeamSearch(ENGLISH)
    log_probs, lengths, _ = certain(["hel_lo", "a", "_b b"])
    alone = [search(row[None], length[None])[0] for row, length in zip(log_probs, lengths, strict=True)]
    assert search(log_probs, lengths) == alone == ["hello", "a", "b b"]


def test_a_broken_model_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="have NaN"):
        BeamSearch(ENGLISH)(torch.full((1, 2, ENGLISH.num_outputs), math.nan), torch.tensor([2]))
    good = language_model(tmp_path, ["turn the light on"], "word").read_text()
    (tmp_path / "cut.arpa").write_text(good[: good.index("\\3-grams") + 20])
    with pytest.raises(LanguageModelError, match=r"cut\.arpa, near line \d+: End of file"):
        BeamSearch(ENGLISH, language_model=tmp_path / "cut.arpa")
    foreign = language_model(tmp_path, ["включи свет"], "word")
    with pytest.raises(LanguageModelError, match="none of its 2 words, such as 'включи', can be spelled"):
        BeamSearch(ENGLISH, language_model=foreign)
    # KenLM's progress bar stays away.
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("settings", [{"beam": 0}, {"lm_weight": -1.0}, {"word_bonus": math.nan}])
def test_settings_that_mean_nothing_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        BeamConfig(**settings)


def test_a_language_model_of_the_training_text_brings_the_word_error_rate_down(tmp_path: Path) -> None:
    """The shipped seed on held-out speakers, who say sentences that the language model has never seen."""
    loaded = load_model(murmuration_data.path("seed/model.safetensors"))
    corpus = load_corpus("embedded", "")
    training = [
        u.text
        for split in ("seed", "train")
        for s in corpus.speakers(split)
        for u in corpus.utterances(split, s)
    ]
    store = ExampleStore(corpus, loaded.features)
    examples = [example for s in corpus.speakers("test")[:8] for example in store.examples("test", s)]
    assert not {example.text for example in examples} & set(training)
    decoders = {"greedy": lambda *outputs: greedy(*outputs, ENGLISH)}
    for unit, order in (("character", 6), ("word", 3)):
        decoders[unit] = BeamSearch(ENGLISH, language_model=language_model(tmp_path, training, unit, order))
    texts: dict[str, list[str]] = {name: [] for name in decoders}
    references = []
    with torch.inference_mode():
        for indices in bucketed_batches([len(example.features) for example in examples], 32):
            batch = collate([examples[index] for index in indices])
            references += [examples[index].text for index in indices]
            outputs = loaded.model(batch.features, batch.lengths)
            for name, decoder in decoders.items():
                texts[name] += decoder(*outputs)
    rates = {name: word_error_rate(references, hypotheses) for name, hypotheses in texts.items()}
    assert rates["greedy"] > 0.4
    assert rates["character"] < 0.6 * rates["greedy"]
    assert rates["word"] < 0.6 * rates["greedy"]
