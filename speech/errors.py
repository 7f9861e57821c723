"""The errors of this room. All are `ValueError`s and name the value, the place and the remedy."""


class SpeechError(ValueError):
    """Something in speech/ cannot go on with what it was given."""


class AudioError(SpeechError):
    """A sound file, or a segment of one, cannot be used. Loses one utterance, not the corpus."""


class AudioUnavailable(AudioError):
    """A sound file cannot be read now: a fault of the machine (no permission, no memory), not its own."""


class LanguageError(SpeechError):
    """A language is not known, or its characters make no alphabet."""


class CorpusError(SpeechError):
    """A corpus as a whole cannot be used: a broken manifest, or nobody left in it."""


class CheckpointMismatch(SpeechError):
    """A checkpoint does not belong to the model that it was asked to fill."""


class ExportError(SpeechError):
    """A model cannot be exported, or its export is not the model."""


class LanguageModelError(SpeechError):
    """A language model cannot be made, read or used with this model's alphabet."""
