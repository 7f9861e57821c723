"""The acoustic model: a CTC transformer encoder, from a laptop's 0.4 M parameters to the paper's 256 M.

One class for all of them. `paper` is the encoder of arXiv 2310.00098 (App. F): masked input
normalisation, strided convolution with GLU, CAPE positions, pre-LN blocks without biases; beside it its
ablations, the post-LN model (Table 7) and other sizes (H.7). They are regularised and begin as in the
authors' release, apple/ml-pfl4asr; docs/models.md has the table of what that is. `tiny` and `small` learn in
minutes on one CPU core; a depthwise convolution tells them positions. `conformer` has another block.

Guarantees: no buffers, and no layer that looks across utterances, so what is learnt is exactly the
parameters; and an utterance gives the same log-probabilities alone as padded in a batch.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

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
from speech.text import ENGLISH, alphabet_of


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a model, and how it is regularised in training.

    `frontend`: what follows the strided convolution, "glu" or "relu". `positions`: "cape" (sinusoids
    of the time in seconds, no parameters) or "conv" (a depthwise convolution over `position_kernel`
    encoder frames). `block`: "transformer", with layer norms before ("pre") or after ("post") its
    halves, or "conformer", with its depthwise convolution over `block_kernel` encoder frames.
    `layer_drop` is the probability that a block is left out for a whole batch. `language` is what
    it writes, and so how many outputs it has.

    Three rules set the authors' release apart from ours; no tensor and no output in evaluation follows
    from them. `drop_outputs`: dropout also falls on what attention and MLP of a transformer block add, not
    only on attention weights and after the ReLU. `norms_when_dropped`: a post-LN block that is left out
    still applies both its norms. `zero_biases`: front end and output begin with biases of zero, and not
    with U(+-sqrt(1 / fan-in)).
    """

    num_mels: int
    width: int
    heads: int
    feed_forward: int
    layers: int
    kernel: int
    stride: int
    frontend: Literal["glu", "relu"]
    positions: Literal["cape", "conv"]
    block: Literal["transformer", "conformer"] = "transformer"
    norm: Literal["pre", "post"] = "pre"
    input_norm: bool = False
    position_kernel: int = 15
    block_kernel: int = 31
    frame_seconds: float = 0.010
    dropout: float = 0.0
    layer_drop: float = 0.0
    drop_outputs: bool = True
    norms_when_dropped: bool = False
    zero_biases: bool = True
    language: str = ENGLISH.language

    def __post_init__(self) -> None:
        for name in ("num_mels", "width", "heads", "feed_forward", "layers", "kernel", "stride"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        for name in ("dropout", "layer_drop"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must lie in [0, 1).")
        for name in ("kernel", "position_kernel", "block_kernel"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name}={getattr(self, name)} must be odd, to have a centre.")
        if self.width % self.heads:
            raise ValueError(f"width={self.width} must be a multiple of heads={self.heads}.")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                known = " or ".join(map(repr, choices))
                raise ValueError(f"{name}={getattr(self, name)!r} must be {known}.")
        if (self.block, self.norm) == ("conformer", "post"):
            raise ValueError("norm='post' is for block='transformer'; a Conformer block has its own norms.")
        alphabet_of(self.language)  # raises if there is none

    @property
    def num_outputs(self) -> int:
        """The characters of the language, and the CTC blank."""
        return alphabet_of(self.language).num_outputs


_CHOICES = {
    "frontend": ("glu", "relu"),
    "positions": ("cape", "conv"),
    "block": ("transformer", "conformer"),
    "norm": ("pre", "post"),
}
_TINY = ModelConfig(
    num_mels=40,
    width=96,
    heads=4,
    feed_forward=384,
    layers=3,
    kernel=9,
    stride=4,
    frontend="relu",
    positions="conv",
)
_PAPER = ModelConfig(
    num_mels=80,
    width=768,
    heads=4,
    feed_forward=3072,
    layers=36,
    kernel=7,
    stride=3,
    frontend="glu",
    positions="cape",
    input_norm=True,
    dropout=0.3,
    layer_drop=0.3,
    drop_outputs=False,
    norms_when_dropped=True,
    zero_biases=False,
)
_PAPER_SIZE = replace(_PAPER, layer_drop=0.1)
PRESETS = {
    "tiny": _TINY,
    "small": replace(_TINY, width=192, feed_forward=768, layers=6),
    "conformer": replace(  # the blocks of Gulati's Conformer (S), not the release's: it has none
        _PAPER,
        block="conformer",
        width=144,
        feed_forward=576,
        layers=16,
        dropout=0.1,
        layer_drop=0.0,
        drop_outputs=True,
        norms_when_dropped=False,
        zero_biases=True,
    ),
    "paper": _PAPER,
    "paper-post-norm": replace(_PAPER, norm="post"),
    "paper-narrow": replace(_PAPER_SIZE, width=512, feed_forward=2048),
    "paper-shallow": replace(_PAPER_SIZE, layers=16),
    "paper-wide": replace(_PAPER_SIZE, width=1024, feed_forward=4096),
    "paper-deep": replace(_PAPER_SIZE, layers=72),
}


class CTCTransformer(nn.Module):
    """Features to per-frame log-probabilities over the characters and the CTC blank."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
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
        """Log-probabilities (B, T', outputs) and their lengths (B,), from (B, T, mels) and (B,).

        `features` must be zero beyond `lengths` frames; T' = max(T // stride, 1). What stands beyond
        the returned lengths means nothing. Features are moved to where the model is; `lengths` stay on
        the CPU.
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
            elif self._norms_when_dropped:
                hidden = block.norms(hidden)
        # The softmax and the loss over it are float32 whatever the encoder computed in.
        return self.output(self.norm(hidden)).float().log_softmax(-1), frames

    @property
    def _norms_when_dropped(self) -> bool:
        return self.config.norm == "post" and self.config.norms_when_dropped

    def _dropped(self, hidden: Tensor) -> Tensor:
        return dropped(hidden, self.config.dropout, self.training)

    def _left_out(self) -> bool:
        probability = self.config.layer_drop
        return self.training and probability > 0 and bool(torch.rand(()) < probability)


def _block(config: ModelConfig) -> nn.Module:
    shape = {"heads": config.heads, "feed_forward": config.feed_forward, "dropout": config.dropout}
    if config.block == "conformer":
        return ConformerBlock(config.width, kernel=config.block_kernel, **shape)
    return Block(config.width, post_norm=config.norm == "post", drop_outputs=config.drop_outputs, **shape)


def build_model(
    preset: str,
    language: str = ENGLISH.language,
    *,
    seed: int | None = None,
    dropout: float | None = None,
    layer_drop: float | None = None,
) -> CTCTransformer:
    """A fresh model of a preset that writes `language`.

    `dropout` and `layer_drop` are the preset's unless given. `seed` fixes the initial parameters and
    leaves the global generator as it was. Inside `with torch.device("meta")` it takes no memory. Raises
    `ValueError` for an unknown preset or language.
    """
    if preset not in PRESETS:
        raise ValueError(f"model preset {preset!r} is not known; known are {', '.join(PRESETS)}.")
    config = PRESETS[preset]
    config = replace(
        config,
        language=language,
        dropout=config.dropout if dropout is None else dropout,
        layer_drop=config.layer_drop if layer_drop is None else layer_drop,
    )
    if seed is None:
        return CTCTransformer(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CTCTransformer(config)
