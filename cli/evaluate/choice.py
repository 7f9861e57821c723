"""How models are evaluated: what a person chooses beside the models and the speech."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cli.models import decode_by
from speech.errors import SpeechError
from speech.model.compute import Compute
from speech.model.recogniser import Recogniser


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Decoding, device and batches; and the field whose values are reported on.

    Example:
        >>> Choice(beam=8).decoding, Choice().decoding
        ('beam search of width 8', 'greedy decoding')
    """

    beam: int | None = None
    lm: Path | None = None
    device: str | None = None
    batch_seconds: float = 0.0
    by: str | None = None

    @property
    def decoding(self) -> str:
        """The decoding, in words."""
        if self.lm is not None:
            return f"beam search with {self.lm}"
        return "greedy decoding" if self.beam is None else f"beam search of width {self.beam}"

    def prepare(self, model: Recogniser) -> str:
        """Move the model to its device, and let it decode as chosen; return the device.

        Raises:
            SpeechError: For a device that is not here, or a decoding that the model does not have.
        """
        try:
            compute = Compute.choose(device=self.device)
            compute.place(model)
        except (ValueError, RuntimeError) as error:
            raise SpeechError(f"--device: {error}; leave it out for what is here") from None
        decode_by(model, beam=self.beam, lm=self.lm)
        return str(compute.device)
