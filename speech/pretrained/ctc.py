"""Pre-trained models with a CTC head: wav2vec 2.0, HuBERT, WavLM, W2V-BERT, Parakeet and others.

Which ones follows from what they can do, not from a list of names: whatever `transformers` loads for CTC.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from speech.data.batching import Batch
from speech.decoding import greedy
from speech.errors import ModelError
from speech.model.loss import alignable, ctc_losses
from speech.model.recogniser import BatchEvaluation
from speech.model.stem import Stem
from speech.pretrained.base import PretrainedRecogniser, Regularisation, library_config, library_model
from speech.pretrained.folder import ModelFolder
from speech.pretrained.front_ends import LibraryFrontEnd
from speech.pretrained.transformers_library import transformers
from speech.text import Alphabet, Tokeniser

_LENGTHS = ("_get_feat_extract_output_lengths", "_get_subsampling_output_length")


class LibraryTokeniser:
    """The tokeniser of a CTC model's folder: a text to the indices of its head, and back.

    Example:
        >>> from pathlib import Path
        >>> tokeniser = LibraryTokeniser(ModelFolder(Path("wav2vec2-base")), blank=0)  # doctest: +SKIP
        >>> tokeniser.decode([0, 8, 8, 0, 10])  # doctest: +SKIP
        'hi'
    """

    def __init__(self, folder: ModelFolder, blank: int) -> None:
        self._tokenizer: Any = transformers().AutoTokenizer.from_pretrained(
            folder.path, local_files_only=True
        )
        self._blank = blank
        known = self._tokenizer.get_vocab()
        self._upper = "A" in known and "a" not in known

    def encode(self, text: str) -> list[int]:
        """Return the indices of a text. Characters that the model does not know are left out."""
        ids = self._tokenizer(text.upper() if self._upper else text, add_special_tokens=False).input_ids
        return [one for one in ids if one not in (self._blank, self._tokenizer.unk_token_id)]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of one index a frame: runs are one symbol, blanks none."""
        symbols = [one for one, _ in groupby(ids) if one != self._blank]
        text: str = self._tokenizer.decode(symbols, skip_special_tokens=True, group_tokens=False)
        return " ".join((text.lower() if self._upper else text).split())

    @property
    def symbols(self) -> list[str]:
        """The symbol of each index."""
        known = {index: symbol for symbol, index in self._tokenizer.get_vocab().items()}
        return [known.get(index, "") for index in range(max(known) + 1)]


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

    def __init__(self, base: nn.Module, folder: ModelFolder, alphabet: Alphabet, *, new_head: bool) -> None:
        super().__init__(base, folder, alphabet, LibraryFrontEnd(folder))
        self.has_new_head = new_head
        if new_head:
            _replace_head(base, alphabet.num_outputs)

    @staticmethod
    def takes(config: Any) -> bool:
        """Whether a configuration is that of a CTC model."""
        return type(config) in transformers().AutoModelForCTC._model_mapping

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
    ) -> "PretrainedCTC":
        """Load the model of a folder.

        Raises:
            ModelError: If the folder does not hold such a model.
        """
        config = library_config(folder, regularisation or Regularisation())
        base = library_model(transformers().AutoModelForCTC, folder, config, weights=weights)
        return cls(base, folder, alphabet, new_head=new_head)

    @cached_property
    def blank(self) -> int:
        """The index of the CTC blank."""
        return self.alphabet.blank if self.has_new_head else int(self._config.pad_token_id)

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

    def objective(self, batch: Batch) -> Tensor:
        """Return the mean negative log-likelihood of the batch in nats per utterance: a scalar."""
        log_probs, frames = self(batch.features, batch.lengths)
        losses = ctc_losses(log_probs, frames, batch, blank=self.blank)
        return losses.sum() / max(alignable(frames, batch), 1)

    def evaluate(self, batch: Batch) -> BatchEvaluation:
        """Return losses and greedy transcripts; an utterance too short for its transcript does not count."""
        log_probs, frames = self(batch.features, batch.lengths)
        return BatchEvaluation(
            losses=ctc_losses(log_probs, frames, batch, blank=self.blank),
            counted=alignable(frames, batch),
            texts=self.decode(log_probs, frames),
        )

    def decode(self, log_probs: Tensor, frames: Tensor) -> list[str]:
        """Return the greedy transcripts of log-probabilities (B, T', outputs)."""
        if self.has_new_head:
            return greedy(log_probs, frames, self.alphabet)
        rows = log_probs.argmax(-1).tolist()
        return [self.tokeniser.decode(row[:n]) for row, n in zip(rows, frames.tolist(), strict=True)]  # type: ignore[attr-defined]

    def stem(self) -> Stem | None:
        """The strided convolutions over the waveform, if they are frozen."""
        convolutions = getattr(self._inner, "feature_extractor", None)
        if convolutions is None or any(value.requires_grad for value in convolutions.parameters()):
            return None
        return Stem(
            modules=(convolutions,),
            compute=lambda inputs: convolutions(inputs.squeeze(-1)[None])[0].T.contiguous(),
            width=int(self._config.conv_dim[-1]),
            stride=math.prod(self._config.conv_stride),
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
        if self.starts_from_stem:  # the shortest waveforms that have so many frames
            strides, kernels = self._config.conv_stride, self._config.conv_kernel
            for stride, kernel in zip(reversed(strides), reversed(kernels), strict=True):
                lengths = (lengths - 1) * stride + kernel
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
    for name, layer in reversed(list(_heads(base))):
        if layer.weight.shape[0] == size:
            parent, _, own = name.rpartition(".")
            setattr(base.get_submodule(parent), own, _like(layer, outputs))
            base.config.vocab_size = outputs
            return
    raise ModelError(f"model.head = 'characters': {type(base).__name__} has no layer of {size} outputs.")


def _heads(base: nn.Module) -> Iterator[tuple[str, nn.Linear | nn.Conv1d]]:
    for name, layer in base.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv1d):
            yield name, layer


def _like(layer: nn.Linear | nn.Conv1d, outputs: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]), torch.device(layer.weight.device):
        torch.manual_seed(0)
        if isinstance(layer, nn.Linear):
            return nn.Linear(layer.in_features, outputs, bias=layer.bias is not None)
        return nn.Conv1d(layer.in_channels, outputs, kernel_size=1, bias=layer.bias is not None)
