"""Which model: a preset of ours or a pre-trained folder, with adapters or without; and making it."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from base.model_choices import AdapterTrain, Head, Window
from base.registries import MODEL_FAMILIES, MODEL_PRESETS
from speech.errors import ModelError
from speech.model.adapters import Adapters, attach
from speech.model.ctc_transformer import build_model
from speech.model.recogniser import Recogniser
from speech.pretrained.base import PretrainedRecogniser, Regularisation, library_config
from speech.pretrained.folder import ModelFolder
from speech.pretrained.store import find_folder
from speech.text import Alphabet

BASE_SEED = 0  # of the parameters of a preset that comes with none


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """A model by its name, and what is changed in it.

    Attributes:
        name: A preset, the name of a model in the store, or the path of a folder.
        window: "padded" or "short", for models with a window of fixed length.
        head: "base", or "characters" for a new CTC head with the characters of the corpus.
        adapters: The adapters; None for none.
        folder: Where a pre-trained model is, instead of where its name says.

    Raises:
        ModelError: For values of another kind, which a model file can hold.

    Example:
        >>> from speech.text import ENGLISH
        >>> choice = ModelChoice(name="tiny", adapters=Adapters(layers="blocks.2.*", rank=2))
        >>> model = choice.make(ENGLISH)
        >>> sum(value.numel() for name, value in model.named_parameters() if name.endswith("lora_B"))
        1728
    """

    name: str
    window: Window = "padded"
    head: Head = "base"
    adapters: Adapters | None = None
    folder: Path | None = None

    def __post_init__(self) -> None:
        known = self.window in get_args(Window) and self.head in get_args(Head)
        if not (isinstance(self.name, str) and known):
            raise ModelError(
                f"model {self.name!r}, window {self.window!r}, head {self.head!r}: a window is 'padded' or "
                "'short', and a head 'base' or 'characters'"
            )

    @classmethod
    def of(
        cls,
        *,
        name: str,
        window: Window,
        head: Head,
        adapters: str,
        adapter_rank: int,
        adapter_alpha: float,
        adapter_train: AdapterTrain,
        adapter_seed: int,
    ) -> "ModelChoice":
        """Return the choice that the section `model` of a recipe makes."""
        chosen = Adapters(
            layers=adapters,
            rank=adapter_rank,
            alpha=adapter_alpha,
            train=adapter_train,
            seed=adapter_seed,
        )
        return cls(name=name, window=window, head=head, adapters=chosen if adapters else None)

    @property
    def is_preset(self) -> bool:
        """Whether it is one of our presets, and not a pre-trained model."""
        return self.name in MODEL_PRESETS

    @property
    def model_folder(self) -> ModelFolder:
        """The folder of a pre-trained model.

        Raises:
            ModelError: If there is none under this name.
        """
        return ModelFolder(self.folder) if self.folder else find_folder(self.name)

    def make(
        self,
        alphabet: Alphabet,
        *,
        weights: bool = True,
        seed: int | None = BASE_SEED,
        dropout: float | None = None,
        layer_drop: float | None = None,
    ) -> Recogniser:
        """Make the model, with its adapters.

        Args:
            alphabet: The characters of the corpus.
            weights: Whether to read the weights of a pre-trained model.
            seed: Fixes the parameters of a preset, which comes with none.
            dropout: Instead of the model's own.
            layer_drop: Instead of the preset's; a pre-trained model has none unless it is given.

        Raises:
            ModelError: If there is no such model, or it cannot be changed in this way.
        """
        if self.is_preset:
            if self.head != "base":
                raise ModelError(
                    f"model.head = {self.head!r}: preset {self.name!r} has the characters of the corpus "
                    "already; set model.head to 'base'."
                )
            model: Recogniser = build_model(
                self.name, alphabet, seed=seed, dropout=dropout, layer_drop=layer_drop
            )
        else:
            model = self._pretrained(
                alphabet, weights, Regularisation(dropout=dropout, layer_drop=layer_drop)
            )
        if self.adapters:
            attach(model, self.adapters)
        model.choice = self
        return model

    def _pretrained(
        self, alphabet: Alphabet, weights: bool, regularisation: Regularisation
    ) -> PretrainedRecogniser:
        folder = self.model_folder
        made: PretrainedRecogniser = MODEL_FAMILIES[family_name(folder)].load(
            folder,
            alphabet,
            weights=weights,
            window=self.window,
            new_head=self.head == "characters",
            regularisation=regularisation,
        )
        return made


def family_name(folder: ModelFolder) -> str:
    """Return the name of the family of a folder's model, a key of `MODEL_FAMILIES`.

    Raises:
        ModelError: If no family, or more than one, takes it.
    """
    config = library_config(folder, Regularisation())
    names = [name for name in MODEL_FAMILIES if MODEL_FAMILIES[name].takes(config)]
    if len(names) != 1:
        found = f"the families {', '.join(names)} all take it" if names else "no family takes it"
        raise ModelError(
            f"{folder.path}: a model of type {config.model_type!r}; {found}. Known are models for CTC, and "
            "encoder-decoder models of speech."
        )
    return names[0]
