"""Checks of a model before the first round: what would make its training wrong, or private in name only.

Each names the tensor and the remedy. Our own presets are made so that none of this can happen; what is
checked of them is that every adapter is used.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from speech.data.batching import Batch, collate
from speech.data.examples import Example
from speech.errors import ModelError
from speech.model.adapters import is_adapter
from speech.model.modes import evaluating
from speech.model.recogniser import Recogniser
from speech.pretrained.base import PretrainedRecogniser

NOISE_SECONDS = (1.5, 1.0)  # lengths of the utterances of a dry run
MOST_NAMED = 5
TOLERANCE = 1e-3  # of losses alone and padded, relative; a front end without a mask is far beyond it
_WEIGHT_NORM = ("parametrizations.weight.original0", "parametrizations.weight.original1")
_WEIGHT_NORM_BEFORE = ("weight_g", "weight_v")


def require_sound(model: Recogniser, *, trainable: str, longest_seconds: float) -> None:
    """Refuse a model that cannot be trained as its recipe says. What is not trained must be frozen by now.

    A dry run on noise takes up to five forward passes and a backward pass. Mode, gradients, parameters and
    random generators are afterwards as before.

    Args:
        model: The model, before its parameters become one vector.
        trainable: The patterns of `model.trainable`. A weight norm that they name is trained.
        longest_seconds: The longest utterance of the corpus.

    Raises:
        ModelError: If an utterance can be longer than the model's window; its head and its tokeniser do not
            fit; a batch norm is trained, or a weight norm that `trainable` does not name; a trained tensor
            gets no gradient; the loss is no number; training changes a buffer or draws from numpy's
            generator; or the loss of an utterance depends on the padding beside it.

    Example:
        >>> from speech.model.adapters import Adapters
        >>> from speech.model.choice import ModelChoice
        >>> from speech.text import ENGLISH
        >>> choice = ModelChoice(name="tiny", adapters=Adapters(layers="blocks.*.w1", rank=2))
        >>> require_sound(choice.make(ENGLISH), trainable="*.lora_B", longest_seconds=20.0)
    """
    if isinstance(model, PretrainedRecogniser):
        require_window(model, longest_seconds)
        _require_symbols(model)
        _require_frozen_batch_norms(model)
        _require_whole_weights(model, trainable)
    elif not any(is_adapter(name) for name, _ in model.named_parameters()):
        return
    examples = _noise(model)
    with _undisturbed(model):
        _require_gradients(model, collate(examples[:1]))
        _require_constant_state(model, collate(examples[:1]))
        if isinstance(model, PretrainedRecogniser) and model.window == "short":
            _require_no_padding(model, examples)


def require_window(model: Recogniser, longest_seconds: float) -> None:
    """Refuse a corpus whose utterances can be longer than the model's window: their ends would be lost.

    Raises:
        ModelError: Naming both lengths.
    """
    window = model.window_seconds
    if window and longest_seconds > window:
        raise ModelError(
            f"corpus.max-seconds = {longest_seconds:g}: the model takes {window:g} seconds, and the rest of "
            f"a longer utterance would be lost; set it to {window:g}"
        )


def _require_symbols(model: PretrainedRecogniser) -> None:
    """Refuse a tokeniser that writes what the head does not have, or cannot write the corpus' letters."""
    outputs = int(model.base.config.vocab_size)
    unknown = []
    for character in model.alphabet.characters:
        ids = model.tokeniser.encode(character)
        if character.isalpha() and not ids:
            unknown.append(character)
        if any(not 0 <= one < outputs for one in ids):
            raise ModelError(
                f"{model.folder.path}: its tokeniser gives {character!r} the index {max(ids)}, and its head "
                f"has {outputs} outputs; copy the tokeniser that belongs to the model"
            )
    if unknown:
        raise ModelError(
            f"{model.folder.path}: its tokeniser does not know {_listed(map(repr, unknown))}, which would be "
            "left out of every transcript; set model.head to 'characters', or take another model"
        )


def _require_frozen_batch_norms(model: nn.Module) -> None:
    norms = [
        (name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm)
    ]
    trained = [
        f"{name}.{own}" for name, layer in norms for own, v in layer.named_parameters() if v.requires_grad
    ]
    if trained:
        raise ModelError(
            f"model.trainable: {_listed(trained)} belong to a batch norm, whose statistics are of other "
            "data and stay as they are; name the layers to train without it, such as '*.self_attn.*', or "
            "train adapters"
        )


def _require_whole_weights(model: nn.Module, trainable: str) -> None:
    if "original" in trainable or any(own in trainable for own in _WEIGHT_NORM_BEFORE):
        return
    parts = [
        name
        for name, value in model.named_parameters()
        if value.requires_grad and name.endswith((*_WEIGHT_NORM, *_WEIGHT_NORM_BEFORE))
    ]
    if parts:
        raise ModelError(
            f"model.trainable: {_listed(parts)} are the length and the direction of a normed weight. Noise "
            "on them changes the weight far more than noise on itself would; leave them out, such as by "
            "'*encoder.layers*,*lm_head*', or name them in a pattern of their own if it is meant"
        )


def _require_gradients(model: Recogniser, batch: Batch) -> None:
    """Refuse trained tensors that have no part in the loss: noise would be added to them and nothing else."""
    with evaluating(model):  # layer drop would take gradients away
        loss = model.objective(batch)
        if not torch.isfinite(loss):
            raise ModelError(_without_loss(model, float(loss.detach())))
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
    without = [
        name for name, value in model.named_parameters() if value.requires_grad and _unused(name, value)
    ]
    if not without:
        return
    remedy = "leave them out of model.trainable"
    if any(is_adapter(name) for name in without):
        remedy = (
            "their layers give their weights to one fused attention, past any adapter; adapt others in "
            "model.adapters, such as those of the feed-forward part"
        )
    raise ModelError(f"model.trainable: {_listed(without)} get no gradient; {remedy}")


def _without_loss(model: Recogniser, loss: float) -> str:
    where = model.folder.path if isinstance(model, PretrainedRecogniser) else type(model).__name__
    return f"{where}: the loss of noise is {loss}, so no update could be used; copy the model's weights again"


def _unused(name: str, value: Tensor) -> bool:
    """Whether a tensor got no gradient. The first factor of an adapter has zeros while the second is zero."""
    return value.grad is None or (not name.endswith(".lora_A") and not value.grad.any())


def _require_constant_state(model: Recogniser, batch: Batch) -> None:
    """Refuse what training changes outside the update, or draws where no seed of a speaker reaches."""
    before = {name: value.clone() for name, value in model.named_buffers()}
    drawn = _numpys_state()
    model.train()
    with torch.no_grad():
        model.objective(batch)
    changed = []
    for name, value in model.named_buffers():
        if not torch.equal(value, before[name]):
            value.copy_(before[name])
            changed.append(name)
    if changed:
        raise ModelError(
            f"{type(model).__name__}: training changes the buffers {_listed(changed)}, outside the clipped "
            "update; keep the layers that have them in evaluation mode"
        )
    if _numpys_state() != drawn:
        raise ModelError(
            f"{type(model).__name__}: training draws from numpy's random generator, so that a speaker's "
            "update would depend on other speakers; turn off its masks (mask_time_prob, mask_feature_prob)"
        )


def _require_no_padding(model: PretrainedRecogniser, examples: list[Example]) -> None:
    """Refuse a model whose loss of an utterance depends on its neighbours; those known take one at a time."""
    with torch.no_grad(), evaluating(model):
        together = float(model.objective(collate(examples)))
        alone = sum(float(model.objective(collate([one]))) for one in examples) / len(examples)
    if abs(together - alone) > TOLERANCE * max(abs(alone), 1.0):
        raise ModelError(
            f"{model.folder.path}: the loss of two utterances is {together:.4f} in one batch and {alone:.4f} "
            "alone, so padding changes what it computes. Set return_attention_mask to false in its "
            "preprocessor_config.json (on every node), and each utterance is computed alone"
        )


def _noise(model: Recogniser) -> list[Example]:
    """Utterances of noise, of different lengths, with one transcript."""
    extract, rate = model.front_end.extractor(), model.front_end.sample_rate_hz
    generator = torch.Generator().manual_seed(0)
    text = "".join(one for one in model.alphabet.characters if one.isalpha())[:2]
    return [
        Example.of(
            f"noise {number}",
            text,
            extract(0.1 * torch.randn(round(seconds * rate), generator=generator)),
            model.tokeniser,
        )
        for number, seconds in enumerate(NOISE_SECONDS)
    ]


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Leave modes, gradients and torch's generator as they were before the block."""
    try:
        with torch.random.fork_rng(devices=[]), evaluating(model):
            yield
    finally:
        model.zero_grad(set_to_none=True)


def _numpys_state() -> tuple[bytes, int]:
    state: Any = np.random.get_state()  # noqa: NPY002
    return state[1].tobytes(), state[2]


def _listed(names: Iterable[str]) -> str:
    """The first names, and the number of the others."""
    found = list(names)
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return ", ".join(found[:MOST_NAMED]) + more
