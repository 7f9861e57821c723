"""The library's own model of an adapted one: adapters merged, settings as its folder has them."""

from typing import Any

import torch
from torch import nn

from speech.errors import ExportError
from speech.model.adapters import merged_tensors
from speech.pretrained.base import PretrainedRecogniser
from speech.pretrained.ctc import PretrainedCTC
from speech.pretrained.library_parts import WITHOUT_CODE
from speech.pretrained.transformers_library import transformers


def has_new_head(model: PretrainedRecogniser) -> bool:
    """Whether a model has outputs of its own for the characters of the corpus."""
    return isinstance(model, PretrainedCTC) and model.has_new_head


@torch.no_grad()
def whole_model(model: PretrainedRecogniser, *, attention: str | None = None) -> Any:
    """Return a model of `transformers` in evaluation mode that computes what `model` does.

    Parameters that only training uses, such as the embedding of masked frames, are the base model's.
    `attention` is the library's implementation of attention; None for its own choice.

    Raises:
        ExportError: If it has other tensors than its folder's model.
        ModelError: If an adapter cannot be merged.
    """
    tensors = merged_tensors(model.base)
    folder, new_head = model.folder.path, has_new_head(model)
    whole: nn.Module = type(model.base).from_pretrained(
        folder,
        config=_config(model),
        dtype=torch.float32,
        attn_implementation=attention,
        use_safetensors=True,
        ignore_mismatched_sizes=new_head,
        **WITHOUT_CODE,
    )
    try:
        report = whole.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise ExportError(f"{folder}: the model does not fit its own folder: {error}") from None
    if report.unexpected_keys:
        raise ExportError(f"{folder}: transformers' model has no {report.unexpected_keys[0]!r}.")
    return whole.eval()


def _config(model: PretrainedRecogniser) -> Any:
    """The folder's configuration, which loading has changed for training; and the size of a new head."""
    config = transformers().AutoConfig.from_pretrained(model.folder.path, **WITHOUT_CODE)
    if has_new_head(model):
        config.vocab_size, config.pad_token_id = model.alphabet.num_outputs, model.alphabet.blank
        config.bos_token_id = config.eos_token_id = None
    return config
