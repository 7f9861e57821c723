"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685) as ordinary named parameters of a model.

An adapted layer computes W x + (alpha / rank) B A x. Its weight keeps its name, and `lora_A` (rank, in) and
`lora_B` (out, rank) stand beside it. B starts at zero, so an adapted model starts as the unadapted one.

By default only B is trained, with A fixed at random values that a seed repeats (FFA-LoRA, Sun et al. 2024,
arXiv 2403.12313). The update is then linear in what is trained: a mean of updates is the update of the mean,
noise is never multiplied by noise, and half as many parameters need noise. With A trained too, the first
gradient of A is zero, so that the first round adds noise to A and learns nothing of it.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn import functional

from base.model_choices import AdapterTrain
from speech.errors import ModelError

ALL_LINEAR = "all-linear"  # peft's word for every layer that can be adapted, but the head


@dataclass(frozen=True, kw_only=True)
class Adapters:
    """Which layers are adapted, and how.

    `layers` are shell patterns of layer names with commas between, or "all-linear": every layer but the head,
    which is the last. Names differ between architectures, this word does not. `train` is "B", or "AB" for
    both factors. `seed` fixes A.

    Raises:
        ModelError: For values of another kind, which a model file can hold.

    Example:
        >>> from speech.model.ctc_transformer import build_model
        >>> model = build_model("tiny", seed=0)
        >>> attach(model, Adapters(layers="blocks.*.w1", rank=4))[:2]
        ['blocks.0.w1.lora_A', 'blocks.0.w1.lora_B']
    """

    layers: str
    rank: int = 8
    alpha: float = 16.0
    train: AdapterTrain = "B"
    seed: int = 0

    def __post_init__(self) -> None:
        kinds = type(self.layers) is str and type(self.rank) is int and type(self.seed) is int
        if not (kinds and self.rank > 0 and self.train in ("B", "AB") and _is_positive(self.alpha)):
            raise ModelError(
                f"{self}: rank and seed are whole numbers, rank and alpha above 0, and train is 'B' or 'AB'"
            )

    @property
    def scale(self) -> float:
        """The factor alpha / rank of B A."""
        return self.alpha / self.rank


class _Adapted(nn.Module):
    weight: Tensor
    lora_A: nn.Parameter
    lora_B: nn.Parameter
    lora_scale: float

    def _change(self, inputs: Tensor) -> Tensor:
        low = functional.linear(inputs, self.lora_A)
        return functional.linear(low, self.lora_B) * self.lora_scale


class AdaptedLinear(_Adapted, nn.Linear):
    """A linear layer with an adapter; `attach` makes it of a linear layer.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 2))
        >>> attach(model, Adapters(layers="0", rank=1)), type(model[0]).__name__
        (['0.lora_A', '0.lora_B'], 'AdaptedLinear')
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer to (..., in)."""
        return functional.linear(input, self.weight, self.bias) + self._change(input)


class AdaptedPointwise(_Adapted, nn.Conv1d):
    """A convolution of kernel 1 with an adapter; `attach` makes it of such a convolution.

    Example:
        >>> model = nn.Sequential(nn.Conv1d(3, 2, 1))
        >>> attach(model, Adapters(layers="0", rank=1)), type(model[0]).__name__
        (['0.lora_A', '0.lora_B'], 'AdaptedPointwise')
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer to (B, in, T)."""
        changed = self._change(input.transpose(1, 2)).transpose(1, 2)
        return functional.conv1d(input, self.weight, self.bias) + changed


def attach(model: nn.Module, adapters: Adapters) -> list[str]:
    """Give the layers of `model` that the patterns name an adapter each.

    Returns:
        The names of the new parameters.

    Raises:
        ModelError: If a pattern names no layer that can be adapted.
    """
    added = []
    for name, layer in _chosen(model, adapters.layers).items():
        _adapt(name, layer, adapters)
        added += [f"{name}.lora_A", f"{name}.lora_B"]
    return added


def merge_(model: nn.Module) -> None:
    """Add every adapter to the weight of its layer, and take it away.

    Raises:
        ModelError: If an adapted layer shares its weight with another, which merging would change too.
    """
    merged = merged_tensors(model)
    for name, layer in adapted_layers(model).items():
        layer.weight.data.copy_(merged[f"{name}.weight"])
        del layer.lora_A, layer.lora_B
        layer.__class__ = nn.Linear if isinstance(layer, AdaptedLinear) else nn.Conv1d  # type: ignore[assignment]


def merged_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors that `model` would have after `merge_`, and leave it as it is.

    Raises:
        ModelError: If an adapted layer shares its weight with another, which merging would change too.
    """
    found = {name: value.detach() for name, value in model.state_dict().items() if not is_adapter(name)}
    for name, layer in adapted_layers(model).items():
        weight = f"{name}.weight"
        shared = [one for one, value in found.items() if one != weight and _same(value, layer.weight)]
        if shared:
            raise ModelError(f"the adapter of {name!r} cannot be merged: {shared[0]!r} is the same weight.")
        found[weight] = layer.weight.detach() + _merged_change(layer)
    return found


def adapted_layers(model: nn.Module) -> "dict[str, AdaptedLinear | AdaptedPointwise]":
    """Return the layers with adapters, by their names."""
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, AdaptedLinear | AdaptedPointwise)
    }


def is_adapter(name: str) -> bool:
    """Whether a parameter of this name belongs to an adapter."""
    return name.endswith((".lora_A", ".lora_B"))


def _merged_change(layer: _Adapted) -> Tensor:
    change = layer.lora_B.detach() @ layer.lora_A.detach() * layer.lora_scale
    return change.reshape(layer.weight.shape)


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value > 0


def _same(one: Tensor, other: Tensor) -> bool:
    return one.data_ptr() == other.data_ptr() and one.numel() > 0


def _adaptable(model: nn.Module) -> Iterator[tuple[str, nn.Linear | nn.Conv1d]]:
    """Layers whose forward pass an adapter can take over: subclasses have one of their own."""
    for name, layer in model.named_modules():
        pointwise = type(layer) is nn.Conv1d and layer.kernel_size == (1,) and layer.groups == 1
        if pointwise or type(layer) is nn.Linear:
            yield name, layer


def _chosen(model: nn.Module, layers: str) -> "dict[str, nn.Linear | nn.Conv1d]":
    found = dict(_adaptable(model))
    if layers.strip() == ALL_LINEAR:
        *_, head = (name for name, one in model.named_modules() if isinstance(one, nn.Linear | nn.Conv1d))
        return {name: one for name, one in found.items() if name != head}
    patterns = [one.strip() for one in layers.split(",") if one.strip()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in found):
            raise ModelError(
                f"model.adapters = {layers!r}: {pattern!r} names no linear layer or convolution of kernel 1; "
                f"there are {', '.join(found)}. {ALL_LINEAR!r} alone names all but the last, the head."
            )
    return {name: one for name, one in found.items() if any(fnmatchcase(name, each) for each in patterns)}


def _adapt(name: str, layer: nn.Linear | nn.Conv1d, adapters: Adapters) -> None:
    out, inputs = layer.weight.shape[:2]
    if adapters.rank > max(out, inputs):
        raise ModelError(
            f"model.adapter-rank = {adapters.rank}: {name!r} maps {inputs} values to {out}, so no change of "
            f"it has a rank above {min(out, inputs)}; set a smaller one"
        )
    device = layer.weight.device
    layer.lora_A = nn.Parameter(_fixed(name, (adapters.rank, inputs), adapters.seed).to(device))
    layer.lora_B = nn.Parameter(torch.zeros(out, adapters.rank, device=device))
    layer.lora_scale = adapters.scale  # type: ignore[assignment]
    layer.__class__ = AdaptedLinear if isinstance(layer, nn.Linear) else AdaptedPointwise


def _fixed(name: str, shape: tuple[int, int], seed: int) -> Tensor:
    """U(+-1 / sqrt(in)), as peft draws A, from the seed and the name: other layers change nothing."""
    drawn = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8]) >> 1
    limit = 1 / math.sqrt(shape[1])
    with torch.device("cpu"):
        generator = torch.Generator().manual_seed(drawn)
        return torch.empty(shape).uniform_(-limit, limit, generator=generator)
