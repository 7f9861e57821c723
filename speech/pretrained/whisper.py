"""Whisper (Radford et al. 2022, arXiv 2212.04356), with its window of 30 seconds or with short input.

Whisper was trained on windows of 30 seconds that silence fills. `window` "padded" gives it that: exact, and
many times the work of a short utterance. "short" gives it the utterance and half a second of silence; padding
in a batch is masked, so that a batch changes nothing. An untouched model loops on short input (tiny.en: 265 %
WER where the padded window has 24.9 %, benchmarks/NOTES.md); some rounds of training on it mend that.
"""

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from speech.data.batching import Batch
from speech.features.spec_augment import SpecAugment
from speech.model.modes import evaluating
from speech.model.stem import Stem
from speech.pretrained.attention_times import Span, recorded_attention, token_spans
from speech.pretrained.folder import WHISPER, ModelFolder
from speech.pretrained.front_ends import WhisperFrontEnd
from speech.pretrained.seq2seq import IGNORED, PretrainedSeq2Seq
from speech.text import Alphabet

SHORT_TAIL_SECONDS = 0.5
DIGITAL_SILENCE = (math.log10(1e-10) + 4.0) / 4.0  # its feature


class Whisper(PretrainedSeq2Seq):
    """A Whisper model. `window` is "padded" or "short".

    Example:
        >>> from pathlib import Path
        >>> from speech.text import ENGLISH
        >>> folder = ModelFolder(Path("whisper-tiny.en"))  # doctest: +SKIP
        >>> Whisper.load(folder, ENGLISH, window="short").front_end.hop_seconds  # doctest: +SKIP
        0.01
    """

    def __init__(self, base: nn.Module, folder: ModelFolder, alphabet: Alphabet, window: str) -> None:
        self.window = window
        tail = SHORT_TAIL_SECONDS if window == "short" else 0.0
        self._whole = WhisperFrontEnd(folder, tail_seconds=tail)
        super().__init__(base, folder, alphabet, self._whole)
        self.augment = SpecAugment(value="mean")  # its log-mel features are not normalised: 0 is loud
        self.window_seconds = folder.window_seconds
        for layer in self._decoder.layers:
            layer.encoder_attn.register_forward_pre_hook(self._masked, with_kwargs=True)
        self._cross_mask: Tensor | None = None

    @classmethod
    def takes(cls, config: Any) -> bool:
        """Whether a configuration is Whisper's."""
        return bool(config.model_type == WHISPER)

    @classmethod
    def _around(
        cls, base: nn.Module, folder: ModelFolder, alphabet: Alphabet, *, window: str, new_head: bool
    ) -> Self:
        return cls(base, folder, alphabet, window)

    def encode(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return the encoder's states (B, T', width): of features, or of what the stem made of them."""
        stages, frames = self._stages, lengths
        hidden = inputs.to(self._encoder.conv1.weight.device)
        if self.starts_from_stem:
            stages = stages[self._frozen_stages :]
        else:
            hidden, frames = self._convolved(hidden, lengths), lengths // 2
        mask = self._mask(frames, hidden.shape[1]).to(hidden.device) if self.window == "short" else None
        self._cross_mask = mask
        return self._run(stages, hidden, mask)

    @property
    def frame_seconds(self) -> float:
        """The time from one of the encoder's states to the next."""
        return 2 * self._whole.hop_seconds

    def stem(self) -> Stem | None:
        """The convolutions, and the stages of the encoder below the first that is trained."""
        encoder, frozen = self._encoder, self._stages[: self._frozen_stages]
        entrance = (encoder.conv1, encoder.conv2, encoder.embed_positions)
        if any(map(_is_trained, entrance)):
            return None

        def compute(features: Tensor) -> Tensor:
            lengths = torch.tensor([len(features)])
            with evaluating(encoder):  # its own mode decides on dropout over its input, and on layer drop
                hidden = self._convolved(features[None].to(encoder.conv1.weight.device), lengths)
                return self._run(frozen, hidden, None)[0].cpu()

        width, name = int(self.base.config.d_model), f"{self.window} {self.settings_digest}"
        return Stem(modules=(*entrance, *frozen), compute=compute, width=width, stride=2, name=name)

    def _written(self, encoded: Tensor, most: Sequence[int]) -> list[list[int]]:
        return self._generate(encoded, most)

    def _read_again(
        self, encoded: Tensor, ids: Sequence[int], frames: int
    ) -> tuple[list[float], list[Span] | None]:
        """Return log-probabilities and frames; the end of the text takes the frames after the last word."""
        with recorded_attention(self._decoder.layers) as recorded:
            nats, _ = super()._read_again(encoded, ids, frames)
        heads = getattr(self.base.generation_config, "alignment_heads", None) or self._upper_heads
        config = self.base.config
        weights = recorded.weights(heads, config.d_model // config.decoder_attention_heads)
        own = weights[:, len(self.tokeniser.prompt) :, : math.ceil(frames / 2)]
        return nats, token_spans(own, config.median_filter_width)

    @property
    def _upper_heads(self) -> list[tuple[int, int]]:
        """The heads of the upper half of the decoder, where a folder does not say which heads are aligned."""
        layers, heads = len(self._decoder.layers), self.base.config.decoder_attention_heads
        return [(layer, head) for layer in range(layers // 2, layers) for head in range(heads)]

    def _losses(self, batch: Batch, encoded: Tensor) -> tuple[Tensor, Tensor]:
        labels = self._labels(batch).to(encoded.device)
        nats = self._nats(self._logits(encoded, labels), labels)
        return nats, (labels != IGNORED).sum(1)

    def _convolved(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return what enters the first layer (B, T', width) for features (B, T, mels)."""
        if self.window == "padded":
            features = self._filled(features, lengths)
        encoder = self._encoder
        hidden = functional.gelu(encoder.conv1(features.transpose(1, 2)))
        if self.window == "short":  # else the second convolution would look into the padding
            inside = torch.arange(hidden.shape[2]) < lengths.unsqueeze(1)
            hidden = hidden * inside.unsqueeze(1).to(hidden)
        hidden = functional.gelu(encoder.conv2(hidden)).transpose(1, 2)
        hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
        return functional.dropout(hidden, p=encoder.dropout, training=encoder.training)

    def _filled(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Fill the windows (B, T, mels) with silence: 8 decades below the loudest, in Whisper's scale.

        No value is below that of digital silence, which is higher for a quiet utterance.
        """
        frames = self._whole.window_frames
        filled = features.new_empty(len(features), frames, features.shape[2])
        for row, one, length in zip(filled, features, lengths.tolist(), strict=True):
            row[:length] = one[:length]
            row[length:] = torch.clamp(one[:length].max() - 8.0 / 4.0, min=DIGITAL_SILENCE)
        return filled

    @property
    def _stages(self) -> list[nn.Module]:
        """What follows the convolutions: the layers of the encoder, and its norm."""
        return [*self._encoder.layers, self._encoder.layer_norm]

    @property
    def _frozen_stages(self) -> int:
        """The number of stages below the first with a trained parameter."""
        trained = [_is_trained(one) for one in self._stages]
        return trained.index(True) if any(trained) else len(trained)

    def _run(self, stages: Sequence[nn.Module], hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Run some of `_stages`; in training, layers can be dropped."""
        encoder = self._encoder
        for stage in stages:
            if stage is encoder.layer_norm:
                hidden = stage(hidden)
            elif not (encoder.training and encoder.layerdrop and bool(torch.rand(()) < encoder.layerdrop)):
                hidden = stage(hidden, mask)
        return hidden

    def _mask(self, frames: Tensor, longest: int) -> Tensor:
        """Return what is added to attention scores (B, 1, 1, T'): 0, or a huge negative beyond the end."""
        inside = torch.arange(longest) < frames.unsqueeze(1)
        smallest = torch.finfo(torch.float32).min
        return torch.zeros(inside.shape).masked_fill(~inside, smallest)[:, None, None, :]

    def _masked(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Let attention over the encoder see no padding; beams repeat each row."""
        if self._cross_mask is None:
            return args, kwargs
        rows = (args[0] if args else kwargs["hidden_states"]).shape[0]
        mask = self._cross_mask.repeat_interleave(rows // len(self._cross_mask), 0)
        return args, {**kwargs, "attention_mask": mask}

    @property
    def _encoder(self) -> Any:
        return self.base.get_encoder()

    @property
    def _decoder(self) -> Any:
        return self.base.get_decoder()


def _is_trained(module: nn.Module) -> bool:
    return any(value.requires_grad for value in module.parameters())
