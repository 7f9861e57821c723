"""The CTC loss of central training, of a federated client and of the evaluation.

An utterance with fewer encoder frames than its transcript needs has no alignment, and its loss is infinite.
It counts as zero in the sum and in the divisor, and has no gradient.
"""

from torch import Tensor
from torch.nn import functional

from speech.data.batching import Batch


def ctc_losses(log_probs: Tensor, frames: Tensor, batch: Batch, *, blank: int | None = None) -> Tensor:
    """Return the (B,) negative log-likelihoods of the transcripts; 0 without an alignment.

    `blank` is the index of the CTC blank, by default the last one.
    """
    return functional.ctc_loss(
        log_probs.transpose(0, 1),
        batch.tokens,
        frames,
        batch.token_lengths,
        blank=log_probs.shape[-1] - 1 if blank is None else blank,
        reduction="none",
        zero_infinity=True,
    )


def alignable(frames: Tensor, batch: Batch) -> int:
    """Count the utterances of the batch that have enough frames for their transcript."""
    return int((frames >= batch.shortest).sum())
