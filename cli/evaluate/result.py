"""What was evaluated, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from speech.corpora.corpus import Corpus
from speech.model.checkpoint import LoadedModel
from speech.pretrained.base import PretrainedRecogniser

if TYPE_CHECKING:
    from speech.evaluation.assessment import Assessment


@dataclass(frozen=True, kw_only=True)
class Speech:
    """A split to evaluate on, the place of its corpus, and what is compared."""

    corpus: Corpus
    split: str
    place: str
    normaliser: str = "characters"


@dataclass(frozen=True, kw_only=True)
class Result:
    """The evaluation of one model on a split, with the seconds that features and model took.

    `groups` are parts of it by the values of a field.
    """

    path: Path
    loaded: LoadedModel
    assessment: Assessment
    audio_seconds: float
    feature_seconds: float
    model_seconds: float
    skipped: int
    groups: Mapping[str, Assessment]

    @property
    def window(self) -> str:
        """The window of a pre-trained model that has one of fixed length, "padded" or "short"; else ""."""
        model = self.loaded.model
        return str(model.window) if isinstance(model, PretrainedRecogniser) and model.window_seconds else ""

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for a second of speech, reading the file included."""
        return (self.feature_seconds + self.model_seconds) / self.audio_seconds
