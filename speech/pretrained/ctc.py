"""Pre-trained models with a CTC head: wav2vec 2.0, HuBERT, WavLM, W2V-BERT, Parakeet and others.

Which ones follows from what they can do, not from a list of names: whatever `transformers` loads for CTC.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from speech.data.batching import Batch
from speech.decoding import BeamConfig, BeamSearch, greedy
from speech.errors import ModelError
from speech.model.loss import alignable, ctc_losses
from speech.model.modes import evaluating
from speech.model.recogniser import BatchEvaluation
from speech.model.stem import Stem
from speech.pretrained.base import PretrainedRecogniser
from speech.pretrained.folder import ModelFolder
from speech.pretrained.front_ends import LibraryFrontEnd
from speech.pretrained.tokenisers import LibraryTokeniser
from speech.text import Alphabet, Tokeniser

_NEVER = -1e4  # the log-probability of a character that the model lacks
_Count = TypeVar("_Count", int, Tensor)
_LENGTHS = ("_get_feat_extract_output_lengths", "_get_subsampling_output_length")


class PretrainedCTC(PretrainedRecogniser):
    """A CTC model of `transformers`, with its own head or a new one for the characters of the corpus.

    Models whose output for an utterance depends on its neighbours' padding (a group norm over time in the
    front end, or no mask) take one utterance after the other.

    Attributes:
        has_new_head: Whether its outputs are the characters of the corpus.

    Example:
        >>> from pathlib import Path
        >>> from speech.text import ENGLISH
        >>> folder = ModelFolder(Path("wav2vec2-base"))  # doctest: +SKIP
        >>> PretrainedCTC.load(folder, ENGLISH, new_head=True).blank  # doctest: +SKIP
        29
    """

    library_class = "AutoModelForCTC"
    can_have_new_head = True
    decoder: BeamSearch | None = None

    def __init__(self, base: nn.Module, folder: ModelFolder, alphabet: Alphabet, *, new_head: bool) -> None:
        super().__init__(base, folder, alphabet, LibraryFrontEnd(folder))
        self.has_new_head = new_head
        if new_head:
            _replace_head(base, alphabet.num_outputs)

    @classmethod
    def _around(
        cls, base: nn.Module, folder: ModelFolder, alphabet: Alphabet, *, window: str, new_head: bool
    ) -> Self:
        return cls(base, folder, alphabet, new_head=new_head)

    @cached_property
    def blank(self) -> int:
        """The index of the CTC blank.

        Raises:
            ModelError: If the configuration names none that the head has.
        """
        if self.has_new_head:
            return self.alphabet.blank
        index = self._config.pad_token_id
        if index is None or not 0 <= index < self._config.vocab_size:
            raise ModelError(
                f"{self.folder.path}: pad_token_id = {index} in config.json is the index of the CTC blank, "
                f"and the head has {self._config.vocab_size} outputs; copy the model's own config.json"
            )
        return int(index)

    @cached_property
    def tokeniser(self) -> Tokeniser:
        """The folder's, or the characters of the corpus for a new head."""
        return self.alphabet if self.has_new_head else LibraryTokeniser(self.folder, self.blank)

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute log-probabilities (B, T', outputs) of (B, T, width), and their lengths (B,)."""
        inputs = inputs.to(next(self.base.parameters()).device)
        if self._takes_padding:
            frames, mask = self._frames(lengths), self._mask(lengths)
            logits = self._logits(inputs, mask.to(inputs.device))
        else:
            alone = [self._logits(one[None, :n], None)[0] for one, n in zip(inputs, lengths, strict=True)]
            frames = torch.tensor([len(one) for one in alone])
            logits = pad_sequence(alone, batch_first=True)
        return logits.float().log_softmax(-1), frames

    def weighted_objective(self, batch: Batch) -> tuple[Tensor, float]:
        """Return the mean negative log-likelihood in nats per utterance, and how many have an alignment."""
        log_probs, frames = self(batch.features, batch.lengths)
        counted = alignable(frames, batch)
        losses = ctc_losses(log_probs, frames, batch, blank=self.blank)
        return losses.sum() / max(counted, 1), float(counted)

    def evaluate(self, batch: Batch) -> BatchEvaluation:
        """Return losses and transcripts; an utterance too short for its transcript does not count."""
        log_probs, frames = self(batch.features, batch.lengths)
        return BatchEvaluation(
            losses=ctc_losses(log_probs, frames, batch, blank=self.blank),
            counted=alignable(frames, batch),
            texts=self.decode(log_probs, frames),
        )

    def decode(self, log_probs: Tensor, frames: Tensor) -> list[str]:
        """Return the transcripts of log-probabilities (B, T', outputs)."""
        if self.decoder is not None:
            return self.decoder(self.in_characters(log_probs), frames)
        if self.has_new_head:
            return greedy(log_probs, frames, self.alphabet)
        rows = log_probs.argmax(-1).tolist()
        return [self.tokeniser.decode(row[:n]) for row, n in zip(rows, frames.tolist(), strict=True)]  # type: ignore[attr-defined]

    def decode_by(self, config: BeamConfig, language_model: Path | None = None) -> None:
        """Decode by beam search over the characters of the corpus from now on.

        Raises:
            LanguageModelError: For a file that cannot be used, or without the extra 'decoding'.
            ModelError: If the symbols of the model are no characters.
        """
        self.in_characters(torch.zeros(1, 1, int(self._config.vocab_size)))
        self.decoder = BeamSearch(self.alphabet, config, language_model)

    def in_characters(self, log_probs: Tensor) -> Tensor:
        """Return log-probabilities (..., outputs) as those of the characters of the corpus, and the blank.

        Raises:
            ModelError: If the symbols of the model are no characters.
        """
        if self._columns is None:
            return log_probs
        found = log_probs[..., [0 if one is None else one for one in self._columns]]
        found[..., [one is None for one in self._columns]] = _NEVER
        return found

    @cached_property
    def _columns(self) -> list[int | None] | None:
        """The output of each character, and of the blank; None where the outputs are these already."""
        if isinstance(self.tokeniser, LibraryTokeniser):
            return self.tokeniser.columns(self.alphabet)
        return None

    @cached_property
    def frame_samples(self) -> int:
        """The samples from one frame of the outputs to the next, by trial."""
        sizes = [round(seconds / self.front_end.hop_seconds) for seconds in (1.0, 3.0)]
        device = next(self.base.parameters()).device
        with torch.inference_mode(), evaluating(self):
            one, other = (
                self._logits(torch.zeros(1, n, self.front_end.width, device=device), None).shape[1]
                for n in sizes
            )
        stride = round((sizes[1] - sizes[0]) / (other - one))
        return round(stride * self.front_end.hop_seconds * self.front_end.sample_rate_hz)

    @property
    def first_samples(self) -> int:
        """The samples that the first frame is computed of, in whose middle it lies."""
        if self.front_end.width > 1:  # windows of a spectrum are centred on their frames
            return 0
        return self._samples_of(1)

    def _samples_of(self, frames: _Count) -> _Count:
        """Return the samples of the shortest waveforms of which the convolutions make so many frames."""
        shapes = zip(self._config.conv_kernel, self._config.conv_stride, strict=True)
        for kernel, stride in reversed(list(shapes)):
            frames = (frames - 1) * stride + kernel
        return frames

    def stem(self) -> Stem | None:
        """The strided convolutions over the waveform, if they are frozen."""
        convolutions = getattr(self._inner, "feature_extractor", None)
        if convolutions is None or any(value.requires_grad for value in convolutions.parameters()):
            return None

        def compute(inputs: Tensor) -> Tensor:
            device = next(convolutions.parameters()).device  # of now: it may have been moved
            found: Tensor = convolutions(inputs.squeeze(-1)[None].to(device))[0].T
            return found.contiguous().cpu()

        return Stem(
            modules=(convolutions,),
            compute=compute,
            width=int(self._config.conv_dim[-1]),
            stride=math.prod(self._config.conv_stride),
            name=self.settings_digest,
        )

    @property
    def _config(self) -> Any:
        return self.base.config

    @property
    def _inner(self) -> Any:
        """The model below the head."""
        return getattr(self.base, getattr(self.base, "base_model_prefix", ""), None)

    @cached_property
    def _takes_padding(self) -> bool:
        """Whether padding changes nothing: the front end has no norm over time, and there is a mask."""
        masks = bool(self.folder.preprocessor.get("return_attention_mask", self.front_end.width > 1))
        lengths = any(hasattr(self.base, name) for name in _LENGTHS)
        return masks and lengths and getattr(self._config, "feat_extract_norm", "layer") != "group"

    def _mask(self, lengths: Tensor) -> Tensor:
        """Which frames of the model's first input belong to an utterance (B, T), 1 or 0."""
        if self.starts_from_stem:
            lengths = self._samples_of(lengths)
        return (torch.arange(int(lengths.max())) < lengths.unsqueeze(1)).long()

    def _frames(self, lengths: Tensor) -> Tensor:
        name = next(name for name in _LENGTHS if hasattr(self.base, name))
        frames = lengths if self.starts_from_stem else getattr(self.base, name)(lengths)
        return frames.long().clamp(min=1)

    def _logits(self, inputs: Tensor, mask: Tensor | None) -> Tensor:
        if self.front_end.width == 1:
            inputs = inputs.squeeze(-1)
        with self._given_stem():
            found: Tensor = self.base(inputs, attention_mask=mask).logits
        return found

    @contextmanager
    def _given_stem(self) -> Iterator[None]:
        """Let the convolutions of the model return their input, where that is what they would compute."""
        if not self.starts_from_stem:
            yield
            return
        convolutions = self._inner.feature_extractor
        convolutions.forward = lambda activations: activations.transpose(1, 2)
        try:
            yield
        finally:
            del convolutions.forward


def _replace_head(base: Any, outputs: int) -> None:
    """Put a new head of so many outputs where the model has its own: the last layer of its vocabulary's size.

    Raises:
        ModelError: If it has no such layer.
    """
    size = base.config.vocab_size
    for layer in reversed(list(_heads(base))):
        if layer.weight.shape[0] == size:
            _resize(layer, outputs)
            base.config.vocab_size = outputs
            return
    raise ModelError(f"model.head = 'characters': {type(base).__name__} has no layer of {size} outputs.")


def _heads(base: nn.Module) -> Iterator[nn.Linear | nn.Conv1d]:
    for layer in base.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d):
            yield layer


def _resize(layer: nn.Linear | nn.Conv1d, outputs: int) -> None:
    """Give a head that many outputs, with new parameters. It keeps its forward pass: Parakeet has its own."""
    bias = layer.bias is not None
    with torch.random.fork_rng(devices=[]), torch.device(layer.weight.device):
        torch.manual_seed(0)
        if isinstance(layer, nn.Linear):
            made: nn.Linear | nn.Conv1d = nn.Linear(layer.in_features, outputs, bias=bias)
            layer.out_features = outputs
        else:
            made = nn.Conv1d(layer.in_channels, outputs, kernel_size=1, bias=bias)
            layer.out_channels = outputs
    layer.weight, layer.bias = made.weight, made.bias
