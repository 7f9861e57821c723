"""The shape of a model, and how it is regularised in training."""

from dataclasses import dataclass
from typing import Literal

from speech.text import ENGLISH, Alphabet


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a model, and its regularisation in training.

    `frontend`: the activation after the strided convolution, "glu" or "relu". `positions`: "cape" (sinusoids
    of the time in seconds, no parameters) or "conv" (a depthwise convolution over `position_kernel`
    encoder frames). `block`: "transformer", with layer norms before ("pre") or after ("post") its
    halves, or "conformer", with its depthwise convolution over `block_kernel` encoder frames.
    `layer_drop` is the probability that training skips a block for a whole batch. `alphabet` gives the
    characters of the outputs.

    Three settings differ between the authors' release and ours. They change neither the tensors nor the
    outputs in evaluation. `drop_outputs`: dropout also applies to the outputs of attention and MLP of a
    transformer block, not only to attention weights and after the ReLU. `norms_when_dropped`: a post-LN block
    that is skipped still applies both its norms. `zero_biases`: the biases of front end and output start at
    zero, and not at U(+-sqrt(1 / fan-in)).

    Raises:
        ValueError: For a value outside its range, naming it.

    Example:
        >>> config = ModelConfig(
        ...     num_mels=40, width=96, heads=4, feed_forward=384, layers=3, kernel=9, stride=4,
        ...     frontend="relu", positions="conv",
        ... )
        >>> config.layers, config.width, config.num_outputs
        (3, 96, 30)
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
    alphabet: Alphabet = ENGLISH

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

    @property
    def num_outputs(self) -> int:
        """The characters of the alphabet, and the CTC blank."""
        return self.alphabet.num_outputs

    @property
    def language(self) -> str:
        """The code of the language that it transcribes."""
        return self.alphabet.language


_CHOICES = {
    "frontend": ("glu", "relu"),
    "positions": ("cape", "conv"),
    "block": ("transformer", "conformer"),
    "norm": ("pre", "post"),
}
