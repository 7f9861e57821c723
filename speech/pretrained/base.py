"""What all pre-trained models have in common: loading, modes, buffers and the comparison of transcripts."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import nn

from speech.errors import ModelError
from speech.features.front_end import FrontEnd
from speech.model.recogniser import Recogniser
from speech.pretrained.folder import ModelFolder
from speech.pretrained.library_parts import WITHOUT_CODE
from speech.pretrained.transformers_library import transformers
from speech.text import Alphabet

# Drawn from numpy's global generator inside the models, where no seed of a speaker reaches.
_OFF = ("mask_time_prob", "mask_feature_prob", "apply_spec_augment")
_LAYER_DROPS = ("layerdrop", "encoder_layerdrop", "decoder_layerdrop")
_ADAPTERS = "adapter_config.json"


@dataclass(frozen=True, kw_only=True)
class Regularisation:
    """Dropout of all kinds, and layer drop, instead of the base model's own; None keeps its dropout.

    Layer drop is off unless it is given.

    Example:
        >>> Regularisation(dropout=0.1).settings({"attention_dropout": 0.0, "layerdrop": 0.05, "d_model": 8})
        {'layerdrop': 0.0, 'attention_dropout': 0.1}
    """

    dropout: float | None = None
    layer_drop: float | None = None

    def settings(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """What replaces the settings of a model's configuration."""
        changed: dict[str, Any] = {name: type(config[name])(0) for name in _OFF if name in config}
        changed |= {name: self.layer_drop or 0.0 for name in _LAYER_DROPS if name in config}
        if self.dropout is not None:
            changed |= {
                name: self.dropout
                for name, value in config.items()
                if "dropout" in name and isinstance(value, int | float) and not isinstance(value, bool)
            }
        return changed


class PretrainedRecogniser(Recogniser):
    """A recogniser around a model of `transformers`, which is its submodule `base`.

    Buffers never change: batch norms stay in evaluation mode, whatever the mode of the whole. What the
    library itself never trains, such as the sinusoids of Whisper's encoder, is a buffer here.

    Attributes:
        base: The model of the library.
        folder: Where it came from.
        window: "padded" if every input is filled to the same length, and so costs the same, else "short".
        library_class: The library's class that loads it.
        can_have_new_head: Whether its outputs can be the characters of the corpus instead of its own.

    Example:
        >>> from pathlib import Path
        >>> from speech.model.choice import ModelChoice
        >>> from speech.text import ENGLISH
        >>> choice = ModelChoice(name="openai/whisper-tiny.en", folder=Path("whisper-tiny.en"))
        >>> choice.make(ENGLISH).window_seconds  # doctest: +SKIP
        30.0
    """

    library_class: ClassVar[str]
    can_have_new_head: ClassVar[bool] = False
    base: Any
    window = "short"

    def __init__(self, base: nn.Module, folder: ModelFolder, alphabet: Alphabet, front_end: FrontEnd) -> None:
        super().__init__()
        self.base, self.folder, self.alphabet, self.front_end = base, folder, alphabet, front_end
        self.augment = None
        self.settings_digest = folder.settings_digest

    @classmethod
    def takes(cls, config: Any) -> bool:
        """Whether a configuration is that of a model which the class can be."""
        return type(config) in getattr(transformers(), cls.library_class)._model_mapping

    @classmethod
    def load(
        cls,
        folder: ModelFolder,
        alphabet: Alphabet,
        *,
        weights: bool = True,
        window: str = "padded",
        new_head: bool = False,
        regularisation: Regularisation | None = None,
    ) -> Self:
        """Load the model of a folder.

        Args:
            folder: In Hugging Face's layout.
            alphabet: The characters of the corpus.
            weights: Whether values are needed, and not names and shapes only.
            window: "padded" or "short", for models with a window of fixed length.
            new_head: Whether its outputs are to be the characters of the corpus.
            regularisation: Dropout and layer drop; by default the model's dropout, and no layer drop.

        Raises:
            ModelError: If the folder does not hold such a model, or it cannot have a new head.
        """
        if new_head and not cls.can_have_new_head:
            raise ModelError(
                f"model.head = 'characters': {folder.path} is an encoder-decoder model, which writes its own "
                "vocabulary; set model.head to 'base', or take a CTC model."
            )
        config = library_config(folder, regularisation or Regularisation())
        base = library_model(getattr(transformers(), cls.library_class), folder, config, weights=weights)
        return cls._around(base, folder, alphabet, window=window, new_head=new_head)

    @classmethod
    @abstractmethod
    def _around(
        cls, base: nn.Module, folder: ModelFolder, alphabet: Alphabet, *, window: str, new_head: bool
    ) -> Self:
        """Return the recogniser around a model of the library."""

    def train(self, mode: bool = True) -> "PretrainedRecogniser":
        """Set the mode; batch norms stay in evaluation mode."""
        super().train(mode)
        for layer in self.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.training = False
        return self

    def comparable(self, text: str) -> str:
        """Return a transcript in the characters of the corpus."""
        return self.alphabet.normalise(text)


def library_config(folder: ModelFolder, regularisation: Regularisation) -> Any:
    """Return the configuration of a folder, with the settings of a training.

    Raises:
        ModelError: For a configuration that the library does not know.
    """
    try:
        config = transformers().AutoConfig.from_pretrained(folder.path, **WITHOUT_CODE)
    except (ValueError, OSError, KeyError) as error:
        raise ModelError(f"{folder.path}: transformers cannot use its config.json: {error}") from None
    _require_own_weights(folder, config)
    for part in (config, *_parts(config)):
        for name, value in regularisation.settings(part.to_dict()).items():
            setattr(part, name, value)
        part._attn_implementation = None  # the library's own choice: others are code from elsewhere
    return config


def _require_own_weights(folder: ModelFolder, config: Any) -> None:
    """Refuse weights in another form than float, and adapters that the library would load beside them."""
    if getattr(config, "quantization_config", None):
        raise ModelError(f"{folder.path}: its weights are quantised; take the model before that.")
    if (folder.path / _ADAPTERS).exists():
        raise ModelError(
            f"{folder.path}: {_ADAPTERS} is there, so it holds adapters of peft beside a model; merge them "
            "(`merge_and_unload`), save the model, and take that."
        )


def _parts(config: Any) -> list[Any]:
    """The configurations of parts, such as an encoder's, where these have one of their own."""
    return [value for value in vars(config).values() if isinstance(value, transformers().PreTrainedConfig)]


def library_model(kind: Any, folder: ModelFolder, config: Any, *, weights: bool) -> nn.Module:
    """Return the model of a folder in float32; without `weights`, with random ones.

    What the library itself never trains becomes a buffer: no pattern can train it then.

    Raises:
        ModelError: If the weights are missing or are those of another model.
    """
    make = partial(kind.from_config, config, trust_remote_code=False)
    model: nn.Module = _loaded(kind, folder, config) if weights else make(dtype=torch.float32)
    with torch.device("meta"):  # a loaded model says of no parameter that it is not trained
        fresh = make()
    for name, value in fresh.named_parameters():
        if not value.requires_grad:
            _make_buffer(model, name)
    return model


def _loaded(kind: Any, folder: ModelFolder, config: Any) -> nn.Module:
    try:
        model, report = kind.from_pretrained(
            folder.path,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            **WITHOUT_CODE,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise ModelError(f"{folder.path}: transformers cannot load it: {error}") from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{folder.path}: {len(missing)} tensors are missing, the first {missing[0]!r}; it is no model "
            "that was trained for speech recognition."
        )
    loaded: nn.Module = model
    return loaded


def _make_buffer(model: nn.Module, name: str) -> None:
    path, _, own = name.rpartition(".")
    layer = model.get_submodule(path)
    value = getattr(layer, own).detach()
    delattr(layer, own)
    layer.register_buffer(own, value)
