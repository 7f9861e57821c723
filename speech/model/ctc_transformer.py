"""The acoustic model: a CTC transformer encoder, from 0.4 M parameters for a laptop to the paper's 256 M.

One class serves all presets. The paper's encoder (arXiv 2310.00098, App. F) has masked input normalisation, a
strided convolution with GLU, CAPE positions and pre-LN blocks without biases. Small models take their
positions from a depthwise convolution.

Guarantees: there are no buffers, and no layer mixes utterances. So the parameters are all that training
changes, and an utterance gives the same log-probabilities alone and padded in a batch.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from base.registries import MODEL_PRESETS
from speech.data.batching import Batch
from speech.decoding import BeamConfig, BeamSearch, greedy
from speech.features.log_mel import FeatureConfig
from speech.features.spec_augment import SpecAugment
from speech.model.config import ModelConfig
from speech.model.conformer import ConformerBlock
from speech.model.layers import (
    Block,
    CapePositions,
    ConvPositions,
    MaskedInputNorm,
    StridedFrontend,
    attention_mask,
    dropped,
    lecun_uniform_,
    valid_frames,
)
from speech.model.loss import alignable, ctc_losses
from speech.model.presets import Preset
from speech.model.recogniser import BatchEvaluation, Recogniser
from speech.text import ENGLISH, Alphabet, alphabet_of


class CTCTransformer(Recogniser):
    """Features to log-probabilities of the characters and the CTC blank, frame by frame.

    Example:
        >>> model = build_model("tiny", seed=0).eval()
        >>> log_probs, frames = model(torch.zeros(1, 100, 40), torch.tensor([100]))
        >>> log_probs.shape, frames
        (torch.Size([1, 25, 30]), tensor([25]))
    """

    front_end: FeatureConfig
    decoder: BeamSearch | None = None

    def __init__(
        self,
        config: ModelConfig,
        features: FeatureConfig | None = None,
        augment: SpecAugment | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.alphabet = config.alphabet
        self.front_end = features or FeatureConfig(num_mels=config.num_mels, hop_seconds=config.frame_seconds)
        self.augment = augment or SpecAugment()
        width = config.width
        self.input_norm = MaskedInputNorm() if config.input_norm else None
        self.frontend = StridedFrontend(
            config.num_mels,
            width,
            kernel=config.kernel,
            stride=config.stride,
            glu=config.frontend == "glu",
            zero_bias=config.zero_biases,
        )
        self.positions = (
            ConvPositions(width, kernel=config.position_kernel, dropout=config.dropout)
            if config.positions == "conv"
            else CapePositions(step_seconds=config.frame_seconds * config.stride)
        )
        self.blocks = nn.ModuleList(_block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, config.num_outputs)
        lecun_uniform_(self.output, zero_bias=config.zero_biases)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute log-probabilities (B, T', outputs) and their lengths (B,), with T' = max(T // stride, 1).

        Args:
            features: (B, T, mels), zero beyond the lengths. They are moved to the device of the model.
            lengths: (B,) frames, on the CPU.

        Values beyond the returned lengths have no meaning.
        """
        features = features.to(self.output.weight.device)
        if self.input_norm is not None:
            features = self.input_norm(features, lengths)
        hidden = self._dropped(self.frontend(features))
        frames = (lengths // self.config.stride).clamp_(min=1)
        valid = valid_frames(frames, hidden.shape[1])
        mask = None
        if valid is not None:
            valid = valid.to(hidden.device)
            mask = attention_mask(valid, hidden.dtype)
        hidden = self.positions(hidden, frames, valid)
        for block in self.blocks:
            if not self._left_out():
                hidden = block(hidden, valid, mask)
            elif isinstance(block, Block) and self._norms_when_dropped:
                hidden = block.norms(hidden)
        # Softmax and loss are float32, whatever the precision of the encoder.
        return self.output(self.norm(hidden)).float().log_softmax(-1), frames

    @property
    def tokeniser(self) -> Alphabet:
        """Its characters."""
        return self.alphabet

    def weighted_objective(self, batch: Batch) -> tuple[Tensor, float]:
        """Return the mean negative log-likelihood in nats per utterance, and how many have an alignment."""
        log_probs, frames = self(batch.features, batch.lengths)
        counted = alignable(frames, batch)
        return ctc_losses(log_probs, frames, batch).sum() / max(counted, 1), float(counted)

    def evaluate(self, batch: Batch) -> BatchEvaluation:
        """Return losses and transcripts; an utterance too short for its transcript does not count."""
        log_probs, frames = self(batch.features, batch.lengths)
        return BatchEvaluation(
            losses=ctc_losses(log_probs, frames, batch),
            counted=alignable(frames, batch),
            texts=(self.decoder or partial(greedy, alphabet=self.alphabet))(log_probs, frames),
        )

    def decode_by(self, config: BeamConfig, language_model: Path | None = None) -> None:
        """Decode by beam search from now on.

        Raises:
            LanguageModelError: For a file that cannot be used, or without the extra 'decoding'.
        """
        self.decoder = BeamSearch(self.alphabet, config, language_model)

    @property
    def frame_samples(self) -> int:
        """The samples from one frame of the outputs to the next."""
        return self.front_end.hop_samples * self.config.stride

    @property
    def first_samples(self) -> int:
        """The samples that the first frame is computed of, in whose middle it lies."""
        return self.front_end.first_samples

    @property
    def _norms_when_dropped(self) -> bool:
        return self.config.norm == "post" and self.config.norms_when_dropped

    def _dropped(self, hidden: Tensor) -> Tensor:
        return dropped(hidden, self.config.dropout, self.training)

    def _left_out(self) -> bool:
        probability = self.config.layer_drop
        return self.training and probability > 0 and bool(torch.rand(()) < probability)


def _block(config: ModelConfig) -> nn.Module:
    if config.block == "conformer":
        return ConformerBlock(
            config.width,
            heads=config.heads,
            feed_forward=config.feed_forward,
            kernel=config.block_kernel,
            dropout=config.dropout,
        )
    return Block(
        config.width,
        heads=config.heads,
        feed_forward=config.feed_forward,
        dropout=config.dropout,
        post_norm=config.norm == "post",
        drop_outputs=config.drop_outputs,
    )


def build_model(
    preset: str,
    language: str | Alphabet = ENGLISH,
    *,
    seed: int | None = None,
    dropout: float | None = None,
    layer_drop: float | None = None,
) -> CTCTransformer:
    """Make a model of a preset, with new parameters.

    Inside `with torch.device("meta")` it takes no memory.

    Args:
        preset: The name of a preset.
        language: The alphabet of the outputs, or the code of a registered language.
        seed: Fixes the initial parameters; the global generator is then left as it was.
        dropout: Instead of the preset's.
        layer_drop: Instead of the preset's.

    Raises:
        ValueError: For an unknown preset or language.
    """
    found: Preset = MODEL_PRESETS[preset]
    shape = found.shape
    config = replace(
        shape,
        alphabet=alphabet_of(language),
        dropout=shape.dropout if dropout is None else dropout,
        layer_drop=shape.layer_drop if layer_drop is None else layer_drop,
    )
    if seed is None:
        return CTCTransformer(config, found.features, found.augment)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CTCTransformer(config, found.features, found.augment)
