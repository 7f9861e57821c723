"""Front ends of pre-trained models: the feature extractors of `transformers`, one utterance at a time."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from speech.errors import ModelError
from speech.pretrained.folder import PREPROCESSOR, WHISPER_FRONT_END, ModelFolder
from speech.pretrained.library_parts import library_extractor

INPUTS = ("input_features", "input_values")


@dataclass(frozen=True)
class LibraryFrontEnd:
    """The feature extractor of a folder: log-mel features, or the waveform itself (T, 1).

    Example:
        >>> from pathlib import Path
        >>> LibraryFrontEnd(ModelFolder(Path("wav2vec2-base"))).width  # doctest: +SKIP
        1
    """

    folder: ModelFolder

    @property
    def sample_rate_hz(self) -> int:
        """The rate of the waveforms."""
        return int(self.folder.preprocessor["sampling_rate"])

    @property
    def hop_seconds(self) -> float:
        """The time from one frame to the next."""
        samples = self.folder.preprocessor.get("hop_length", 160) if self.width > 1 else 1
        return float(samples * self.folder.preprocessor.get("stride", 1) / self.sample_rate_hz)

    @property
    def width(self) -> int:
        """The values of a frame: 1 for a waveform."""
        settings = self.folder.preprocessor
        mels = int(settings.get("num_mel_bins", settings.get("feature_size", 1)))
        return mels * int(settings.get("stride", 1))

    def written(self) -> Mapping[str, Any]:
        """The settings of the extractor."""
        return {"preprocessor": self.folder.preprocessor}

    def extractor(self) -> Callable[[Tensor], Tensor]:
        """Make what computes (T, width) of a waveform (n,)."""
        library = library_extractor(self.folder)

        @torch.no_grad()
        def extract(waveform: Tensor) -> Tensor:
            made = library(waveform.numpy(), sampling_rate=self.sample_rate_hz, return_tensors="pt")
            found = next((made[name] for name in INPUTS if name in made), None)
            if found is None:
                raise ModelError(
                    f"{self.folder.path}: its front end gives {', '.join(made)}, no speech input."
                )
            one: Tensor = found[0].float()
            mask = made.get("attention_mask")
            if mask is not None and mask.shape[1] == len(one):  # Parakeet's last frame is padding
                one = one[: int(mask[0].sum())]
            return one.unsqueeze(1) if one.ndim == 1 else one

        return extract


@dataclass(frozen=True)
class WhisperFrontEnd(LibraryFrontEnd):
    """Whisper's log-mel features of an utterance, without the silence that fills its window.

    The features are those of the utterance in a window that silence fills, up to `tail_seconds` after its
    end. All later frames have one value, which follows from the features (`Whisper`).

    Raises:
        ModelError: For a setting of the folder that is no number above 0.

    Example:
        >>> from pathlib import Path
        >>> folder = ModelFolder(Path("whisper-tiny.en"))  # doctest: +SKIP
        >>> WhisperFrontEnd(folder).extractor()(torch.zeros(16_000)).shape  # doctest: +SKIP
        torch.Size([104, 80])
    """

    tail_seconds: float = 0.0

    def __post_init__(self) -> None:
        for name, usual in WHISPER_FRONT_END.items():
            value = self.folder.preprocessor[name]
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ModelError(
                    f"{self.folder.path / PREPROCESSOR}: {name} = {value!r} must be a number above 0 "
                    f"(Whisper's own is {usual}); copy the file again."
                )

    def written(self) -> Mapping[str, Any]:
        """The settings of the extractor, and the tail."""
        return {**super().written(), "tail_seconds": self.tail_seconds}

    @property
    def window_frames(self) -> int:
        """The frames of a full window."""
        return int(self.folder.preprocessor["chunk_length"] * self.sample_rate_hz) // self._hop

    @property
    def _hop(self) -> int:
        return int(self.folder.preprocessor["hop_length"])

    def extractor(self) -> Callable[[Tensor], Tensor]:
        """Make what computes (T, mels); T is even, so that the encoder's stride of 2 fits."""
        library = library_extractor(self.folder)
        context = 2 * library.n_fft  # silence after the last frame that is kept, for its window

        @torch.no_grad()
        def extract(waveform: Tensor) -> Tensor:
            frames = self._frames(len(waveform))
            padded = waveform.new_zeros(frames * self._hop + context)
            kept = waveform[: len(padded)]
            padded[: len(kept)] = kept
            made = library(
                padded.numpy(), sampling_rate=self.sample_rate_hz, padding=False, return_tensors="pt"
            )
            return made["input_features"][0, :, :frames].T.contiguous()  # type: ignore[no-any-return]

        return extract

    def _frames(self, samples: int) -> int:
        """The frames of an utterance with its tail; a window has its last ones, which reach over the end."""
        kept = samples + round(self.tail_seconds * self.sample_rate_hz)
        frames = kept // self._hop + 4
        return min(frames + frames % 2, self.window_frames)
