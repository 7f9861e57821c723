"""Pre-trained encoder-decoder models: all that `transformers` loads for speech to text, such as Moonshine.

Whisper has a class of its own (`speech.pretrained.whisper`). Others take one utterance after the other, so
that no utterance depends on its neighbours' padding.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from speech.data.batching import Batch
from speech.decoding import BeamConfig
from speech.errors import ModelError
from speech.model.recogniser import BatchEvaluation
from speech.pretrained.attention_times import Span
from speech.pretrained.base import PretrainedRecogniser
from speech.pretrained.folder import ModelFolder
from speech.pretrained.front_ends import LibraryFrontEnd
from speech.pretrained.tokenisers import TargetTokeniser
from speech.pretrained.transformers_library import transformers
from speech.text import Alphabet

IGNORED = -100  # a label that is not predicted, as in transformers
_TOKENS, _TOKENS_PER_SECOND = 16, 8.0  # no speech has more; without this, a model that loops takes minutes


@dataclass(frozen=True, kw_only=True)
class WrittenWord:
    """A word that a decoder wrote: its probability, the mean of its tokens'; and its frames, where known.

    Example:
        >>> WrittenWord(text="left", probability=0.9, frames=(20, 35)).frames
        (20, 35)
    """

    text: str
    probability: float
    frames: Span | None


class PretrainedSeq2Seq(PretrainedRecogniser):
    """An encoder-decoder model of `transformers`.

    Attributes:
        beams: The beams of its search; 1 is greedy.

    Example:
        >>> from pathlib import Path
        >>> from speech.text import ENGLISH
        >>> folder = ModelFolder(Path("moonshine-tiny"))  # doctest: +SKIP
        >>> PretrainedSeq2Seq.load(folder, ENGLISH).tokeniser.decode([1, 22172, 2])  # doctest: +SKIP
        'hello'
    """

    library_class = "AutoModelForSpeechSeq2Seq"
    beams = 1

    @classmethod
    def takes(cls, config: Any) -> bool:
        """Whether a configuration is that of an encoder-decoder model of speech, and not Whisper's."""
        return config.model_type != "whisper" and super().takes(config)

    @classmethod
    def _around(
        cls, base: nn.Module, folder: ModelFolder, alphabet: Alphabet, *, window: str, new_head: bool
    ) -> Self:
        return cls(base, folder, alphabet, LibraryFrontEnd(folder))

    @cached_property
    def tokeniser(self) -> TargetTokeniser:
        """The folder's."""
        return TargetTokeniser(self.folder)

    def decode_by(self, config: BeamConfig, language_model: Path | None = None) -> None:
        """Decode by beam search from now on.

        Raises:
            ModelError: For a language model: its decoder is one already, of tokens that no ARPA file has.
        """
        if language_model is not None:
            raise ModelError(
                f"--lm {language_model}: {self.folder.path} is an encoder-decoder model, which takes no "
                "language model; leave --lm out (--beam is the number of its beams), or take a CTC model."
            )
        self.beams = config.beam

    def weighted_objective(self, batch: Batch) -> tuple[Tensor, float]:
        """Return the mean negative log-likelihood of the batch in nats per target, and its targets."""
        losses, targets = self._losses(batch, self.encode(batch.features, batch.lengths))
        count = targets.sum()
        return losses.sum() / count, float(count)

    def evaluate(self, batch: Batch) -> BatchEvaluation:
        """Return losses in nats per utterance, and transcripts."""
        encoded = self.encode(batch.features, batch.lengths)
        losses, _ = self._losses(batch, encoded)
        return BatchEvaluation(
            losses=losses, counted=len(batch), texts=self.decode(encoded, self._most(batch.lengths))
        )

    def encode(self, inputs: Tensor, lengths: Tensor) -> Any:
        """Return the encoder's states (1, T', width) of each utterance."""
        encoder, device = self.base.get_encoder(), next(self.base.parameters()).device
        alone = [one[:n].to(device) for one, n in zip(inputs, lengths, strict=True)]
        if self.front_end.width == 1:
            alone = [one.squeeze(-1) for one in alone]
        return [encoder(one[None]).last_hidden_state for one in alone]

    def decode(self, encoded: Any, most: Sequence[int]) -> list[str]:
        """Return the transcripts of encoder states, of `most` tokens each at most."""
        return [self.tokeniser.decode(row) for row in self._written(encoded, most)]

    @torch.inference_mode()
    def words(self, features: Tensor) -> list[WrittenWord]:
        """Return the words of the input (T, width) of one utterance.

        Their frames are those of the encoder, `frame_seconds` each.
        """
        lengths = torch.tensor([len(features)])
        encoded = self.encode(features[None], lengths)
        (written,) = self._written(encoded, self._most(lengths))
        ids = [one for one in written if one != self.tokeniser.end]
        if not ids:
            return []
        alone = encoded if isinstance(encoded, Tensor) else encoded[0]
        nats, spans = self._read_again(alone, ids, len(features))
        return [
            WrittenWord(
                text=self.tokeniser.decode([ids[one] for one in group]),
                probability=math.exp(sum(nats[one] for one in group) / len(group)),
                frames=self._frames_of(group, ids, spans) if spans else None,
            )
            for group in self.tokeniser.words(ids)
        ]

    @property
    def frame_seconds(self) -> float:
        """The time from one of the encoder's states to the next; 0 if the frames of words are not known."""
        return 0.0

    def _frames_of(self, group: Sequence[int], ids: Sequence[int], spans: Sequence[Span]) -> Span:
        """Return the frames of a word, from its first letter to its last: punctuation takes the pauses."""
        sounding = [one for one in group if self.tokeniser.sounds(ids[one])] or group
        return spans[sounding[0]][0], spans[sounding[-1]][1]

    def _read_again(
        self, encoded: Tensor, ids: Sequence[int], frames: int
    ) -> tuple[list[float], list[Span] | None]:
        """Return the log-probabilities of tokens that the model has written, and their frames if known."""
        prompt = self.tokeniser.prompt
        labels = torch.tensor([[*prompt, *ids, self.tokeniser.end]], device=encoded.device)
        rows = self._logits(encoded, labels)[0].log_softmax(-1)[len(prompt) : -1]
        return rows.gather(1, labels[0, len(prompt) : -1, None]).squeeze(1).tolist(), None

    def _written(self, encoded: Any, most: Sequence[int]) -> list[list[int]]:
        """Return the tokens of each utterance, without the prompt."""
        return [self._generate(one, [n])[0] for one, n in zip(encoded, most, strict=True)]

    def _losses(self, batch: Batch, encoded: Any) -> tuple[Tensor, Tensor]:
        """Return the nats (B,) and the number of targets (B,) of each utterance."""
        labels = self._labels(batch).to(encoded[0].device)
        rows = [
            self._nats(self._logits(one, row[None, row != IGNORED]), row[None, row != IGNORED])
            for one, row in zip(encoded, labels, strict=True)
        ]
        return torch.cat(rows), (labels != IGNORED).sum(1)

    def _labels(self, batch: Batch) -> Tensor:
        """Return the targets (B, L), `IGNORED` behind the end of each.

        Of a transcript that is longer than the decoder reaches, the beginning counts: a wrong one must not
        take the speaker's other utterances with it.
        """
        rows = torch.split(batch.tokens, batch.token_lengths.tolist())
        reached = [row[: self._positions] for row in rows]
        return pad_sequence(reached, batch_first=True, padding_value=IGNORED)

    def _logits(self, encoded: Tensor, labels: Tensor) -> Tensor:
        """Return the scores (B, L, vocabulary) of each target, given all before it."""
        config = self.base.config
        first = labels.new_full((len(labels), 1), config.decoder_start_token_id)
        given = torch.cat([first, labels[:, :-1]], 1)
        given = given.masked_fill(given == IGNORED, config.pad_token_id or 0)
        outputs = _encoder_outputs(encoded)
        logits: Tensor = self.base(encoder_outputs=outputs, decoder_input_ids=given, use_cache=False).logits
        return logits.float()

    def _nats(self, logits: Tensor, labels: Tensor) -> Tensor:
        flat = functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
        )
        return flat.reshape(labels.shape).sum(1)

    def _generate(self, encoded: Tensor, most: Sequence[int]) -> list[list[int]]:
        config = self.base.config
        start = [config.decoder_start_token_id, *self.tokeniser.prompt]
        room = self._positions - len(start)
        written = transformers().GenerationMixin.generate(
            self.base,
            encoder_outputs=_encoder_outputs(encoded),
            decoder_input_ids=torch.tensor([start] * len(encoded), device=encoded.device),
            max_new_tokens=max(1, min(max(most), room)),
            num_beams=self.beams,
            do_sample=False,
        )
        rows = written[:, len(start) :].tolist()
        return [row[:n] for row, n in zip(rows, most, strict=True)]

    @property
    def _positions(self) -> int:
        """The longest sequence of the decoder."""
        config = self.base.config
        found = getattr(config, "max_target_positions", None) or config.max_position_embeddings
        return int(found)

    def _most(self, lengths: Tensor) -> list[int]:
        """The most tokens that utterances of these lengths can have."""
        seconds = lengths.double() * self.front_end.hop_seconds
        return [math.ceil(_TOKENS + _TOKENS_PER_SECOND * one) for one in seconds.tolist()]


def _encoder_outputs(encoded: Tensor) -> Any:
    """Return the states of an encoder as the library hands them to a decoder."""
    found = transformers().modeling_outputs.BaseModelOutput(last_hidden_state=encoded)
    found.attention_mask = None  # Moonshine's decoder reads it; an utterance alone has no padding
    return found
