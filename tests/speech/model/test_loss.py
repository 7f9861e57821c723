import math

import torch

from speech.data.batching import collate
from speech.data.examples import Example
from speech.model.ctc_transformer import build_model
from speech.model.loss import ctc_losses
from tests.speech import toy


def brute_force(log_probs: torch.Tensor, tokens: list[int], blank: int) -> float:
    """-log of the sum over all paths that collapse to the tokens, one by one."""
    frames, symbols = log_probs.shape
    total = 0.0
    for code in range(symbols**frames):
        path = [code // symbols**t % symbols for t in range(frames)]
        collapsed = [s for i, s in enumerate(path) if s != blank and (i == 0 or s != path[i - 1])]
        if collapsed == tokens:
            total += math.exp(sum(float(log_probs[t, s]) for t, s in enumerate(path)))
    return -math.log(total)


def test_losses_are_the_sum_over_all_alignments() -> None:
    # Three symbols carry all the probability: tokens 0 and 1, and the blank, 29.
    scores = torch.full((1, 4, 30), -1e4)
    scores[0, :, [0, 1, 29]] = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    log_probs = scores.log_softmax(-1)
    for text, tokens in (("a", [0]), ("ab", [0, 1]), ("aa", [0, 0])):
        batch = collate([Example.of("id", text, torch.zeros(16, 40))])
        loss = ctc_losses(log_probs, torch.tensor([4]), batch)
        expected = brute_force(log_probs[0, :, [0, 1, 29]], tokens, blank=2)
        assert math.isclose(float(loss), expected, rel_tol=1e-5)


def test_a_batch_is_the_mean_of_its_utterances() -> None:
    model = build_model("tiny", seed=0)
    examples = toy.examples([60, 100, 41, 80])
    single = [model.objective(collate([example])) for example in examples]
    torch.testing.assert_close(model.objective(collate(examples)), torch.stack(single).mean())


def test_gradients_of_a_batch_are_the_mean_of_its_utterances() -> None:
    model = build_model("tiny", seed=0)
    examples = toy.examples([60, 100, 41])
    parameters = list(model.parameters())
    batch = torch.autograd.grad(model.objective(collate(examples)), parameters)
    single = [torch.autograd.grad(model.objective(collate([e])), parameters) for e in examples]
    for found, *parts in zip(batch, *single, strict=True):
        torch.testing.assert_close(found, torch.stack(parts).mean(0), atol=1e-4, rtol=1e-3)


def test_an_utterance_too_short_for_its_text_counts_as_nothing() -> None:
    model = build_model("tiny", seed=0)
    fitting = toy.examples([80])
    # 20 frames give 5 of the encoder: enough for "ab cd", one too few for "aab cd" or "abb c".
    short = toy.examples([20], text="abb c")
    assert not ctc_losses(*model(short[0].features[None], torch.tensor([20])), collate(short)).any()
    torch.testing.assert_close(model.objective(collate(fitting + short)), model.objective(collate(fitting)))
    alone = model.objective(collate(short))
    gradients = torch.autograd.grad(alone, list(model.parameters()))
    assert alone == 0 and not any(g.any() for g in gradients)
    assert model.objective(collate(toy.examples([20]))) > 0
