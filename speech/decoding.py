"""From log-probabilities to text: greedy CTC decoding, without a language model."""

import torch
from torch import Tensor

from speech.text import Alphabet


def greedy(log_probs: Tensor, lengths: Tensor, alphabet: Alphabet) -> list[str]:
    """Texts of log-probabilities (B, T', outputs) with `lengths` (B,) frames each.

    The best symbol of every frame, runs collapsed, blanks dropped, spaces at the ends stripped.
    """
    best = log_probs.argmax(-1).cpu()
    kept = best != alphabet.blank
    kept[:, 1:] &= best[:, 1:] != best[:, :-1]
    kept &= torch.arange(best.shape[1]) < lengths.unsqueeze(1)
    texts = (alphabet.decode(row[mask].tolist()) for row, mask in zip(best, kept, strict=True))
    return [" ".join(text.split()) for text in texts]
