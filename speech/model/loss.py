"""The CTC loss, one and the same for central training, a federated client and the evaluation.

An utterance with fewer encoder frames than its transcript needs has no alignment: its loss is
infinite. It counts as nothing, in the sum and in the divisor, and gives no gradient.
"""

from torch import Tensor
from torch.nn import functional

from speech.data.batching import Batch
from speech.model.ctc_transformer import CTCTransformer


def ctc_loss(model: CTCTransformer, batch: Batch) -> Tensor:
    """Mean negative log-likelihood (nats per utterance) over the batch's utterances: a scalar."""
    log_probs, frames = model(batch.features, batch.lengths)
    losses = ctc_losses(log_probs, frames, batch)
    return losses.sum() / max(alignable(frames, batch), 1)


def ctc_losses(log_probs: Tensor, frames: Tensor, batch: Batch) -> Tensor:
    """(B,) negative log-likelihoods of the transcripts; 0 where there is no alignment."""
    return functional.ctc_loss(
        log_probs.transpose(0, 1),
        batch.tokens,
        frames,
        batch.token_lengths,
        blank=log_probs.shape[-1] - 1,
        reduction="none",
        zero_infinity=True,
    )


def alignable(frames: Tensor, batch: Batch) -> int:
    """How many utterances of the batch have frames enough for their transcript."""
    return int((frames >= batch.shortest).sum())
