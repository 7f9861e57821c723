"""What is trained, evaluated and used, whatever its architecture: a recogniser.

Nothing above `speech` asks which one it is. Our own CTC transformer (`speech.model.ctc_transformer`) is one;
public pre-trained models (`speech.pretrained`) are others.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from speech.data.batching import Batch
from speech.decoding import BeamConfig
from speech.errors import ModelError
from speech.features.front_end import FrontEnd
from speech.features.spec_augment import SpecAugment
from speech.model.stem import Stem, StemFrontEnd
from speech.text import Alphabet, Tokeniser


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchEvaluation:
    """The result of a batch in evaluation.

    `losses` (B,) are nats per utterance, 0 for an utterance that does not count; `counted` is the number of
    those that do. `texts` are the transcripts.

    Example:
        >>> import torch
        >>> BatchEvaluation(losses=torch.tensor([1.5, 0.0]), counted=1, texts=["turn", ""]).counted
        1
    """

    losses: Tensor
    counted: int
    texts: Sequence[str]


class Recogniser(nn.Module):
    """A model of speech, with its input, its symbols, its loss and its decoder.

    Its named parameters are what a run can train. A digest of the others (`optim.trainable`) tells whether
    two of them are the same.

    Attributes:
        alphabet: The characters in which error rates are counted.
        front_end: Describes its input.
        augment: The masks over its input in training; None if there are none for such an input.
        choice: The `ModelChoice` that made it; None for one that was built without.
        starts_from_stem: Whether its input are the activations of its frozen stem.
        settings_digest: Digest of what determines its outputs beside its tensors; "" if its name does.
        window_seconds: The longest utterance that it takes; 0 for any.
        from_file: Names of the parameters whose values are from a model file, whether they are trained now
            or not.

    Example:
        >>> from speech.model.choice import ModelChoice
        >>> from speech.text import ENGLISH
        >>> recogniser = ModelChoice(name="tiny").make(ENGLISH)
        >>> recogniser.front_end.width, recogniser.tokeniser.encode("ab"), recogniser.stem()
        (40, [0, 1], None)
    """

    alphabet: Alphabet
    front_end: FrontEnd
    augment: SpecAugment | None
    choice: Any = None
    starts_from_stem: bool = False
    settings_digest: str = ""
    window_seconds: float = 0.0
    from_file: frozenset[str] = frozenset()

    @property
    @abstractmethod
    def tokeniser(self) -> Tokeniser:
        """Maps the transcripts of the corpus to what it is trained on."""

    def objective(self, batch: Batch) -> Tensor:
        """Return the loss that training minimises: a scalar."""
        return self.weighted_objective(batch)[0]

    @abstractmethod
    def weighted_objective(self, batch: Batch) -> tuple[Tensor, float]:
        """Return the loss that training minimises, a scalar, and its weight in a mean over parts of a batch.

        The weight is the number of what the loss is a mean over, utterances or targets: the weighted mean
        over all parts is then the loss of the batch.
        """

    @abstractmethod
    def evaluate(self, batch: Batch) -> BatchEvaluation:
        """Return losses and transcripts of a batch."""

    def decode_by(self, config: BeamConfig, language_model: Path | None = None) -> None:
        """Decode by beam search, with a language model or without one, instead of greedily from now on.

        Raises:
            LanguageModelError: For a file that cannot be used with the symbols of this model.
            ModelError: If the model cannot be decoded in this way.
        """
        raise ModelError(f"{type(self).__name__} has no beam search; leave --beam and --lm out.")

    def stem(self) -> Stem | None:
        """Return the frozen part at the bottom, by what needs a gradient now; None if there is none."""
        return None

    def start_from_stem(self) -> bool:
        """Take the activations of the frozen stem as the input from now on, if there is a stem.

        Call it after the parameters are frozen: what is trained must not change any more.
        """
        stem = None if self.starts_from_stem else self.stem()
        if stem is not None:
            self.front_end = StemFrontEnd(inner=self.front_end, stem=stem)
            self.augment = None
            self.starts_from_stem = True
        return self.starts_from_stem

    def comparable(self, text: str) -> str:
        """Return a transcript as error rates compare it with a reference."""
        return text
