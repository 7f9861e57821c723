"""Compares an exported file with its model, on log-probabilities, before the file is kept."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speech.errors import ExportError
from speech.features.log_mel import FeatureConfig, LogMel
from speech.model.ctc_transformer import CTCTransformer

TOLERANCE = 1e-3
"""The largest difference of log-probabilities (nats) that counts as equal.

The trained `tiny` differs by 2e-5, which is the rounding of float32 after a logarithm.
"""

SECONDS = (0.1, 0.5, 1.0131, 3.7)
"""Tested lengths, each alone and all as one padded batch."""

Runner = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@torch.inference_mode()
def largest_difference(runner: Runner, model: CTCTransformer, config: FeatureConfig) -> float:
    """Return the largest difference of a log-probability to `LogMel` and `model` on single utterances.

    Raises:
        ExportError: If it is above `TOLERANCE`, or if a length differs.
    """
    waveforms = sounds(config.sample_rate_hz)
    alone = [_expected(model, LogMel(config), waveform) for waveform in waveforms]
    worst = 0.0
    for chosen in (*([index] for index in range(len(waveforms))), list(range(len(waveforms)))):
        batch = [waveforms[index] for index in chosen]
        log_probs, frames = runner(
            pad_sequence(batch, batch_first=True), torch.tensor([len(waveform) for waveform in batch])
        )
        worst = max(worst, _difference(log_probs, frames, [alone[index] for index in chosen]))
    return require_close(worst)


def require_close(difference: float) -> float:
    """Return the largest difference of a log-probability.

    Raises:
        ExportError: If it is above `TOLERANCE`.
    """
    if not difference <= TOLERANCE:
        raise ExportError(
            f"the exported model differs from the model by {difference:.3g} in a log-probability, "
            f"{TOLERANCE:g} at most is allowed; nothing was written."
        )
    return difference


def sounds(rate_hz: int, shortest_seconds: float = 0.0) -> list[Tensor]:
    """Return noise whose level rises and falls by 100 dB, so that the features reach their floor."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for seconds in SECONDS:
        count = round(seconds * rate_hz)
        decibels = 50 * (torch.linspace(0, 9, count).sin() - 1)
        made.append(0.1 * torch.randn(count, generator=generator) * 10 ** (decibels / 20))
    return [one for one in made if len(one) >= shortest_seconds * rate_hz]


def _expected(model: CTCTransformer, log_mel: LogMel, waveform: Tensor) -> Tensor:
    features = log_mel(waveform).unsqueeze(0)
    log_probs, frames = model(features, torch.tensor([features.shape[1]]))
    expected: Tensor = log_probs[0, : int(frames[0])]
    return expected


def _difference(log_probs: Tensor, frames: Tensor, alone: Sequence[Tensor]) -> float:
    if frames.tolist() != [len(one) for one in alone]:
        raise ExportError(
            f"the exported model gives {frames.tolist()} frames, the model {[len(one) for one in alone]}; "
            "nothing was written."
        )
    return max(
        float((row[: len(one)] - one).abs().nan_to_num(torch.inf).max())
        for row, one in zip(log_probs, alone, strict=True)
    )
