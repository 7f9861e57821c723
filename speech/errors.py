"""The errors of this room. All are `ValueError`s; the message names the value, the place and the remedy."""


class SpeechError(ValueError):
    """Something in speech/ cannot go on with its input.

    Example:
        >>> issubclass(AudioError, SpeechError), issubclass(SpeechError, ValueError)
        (True, True)
    """


class AudioError(SpeechError):
    """A sound file, or a segment of one, cannot be used. The corpus loses one utterance, not more."""


class AudioUnavailable(AudioError):
    """A sound file cannot be read now. The machine is at fault (permission, memory), not the file."""


class LanguageError(SpeechError):
    """A language is not known, or its characters make no alphabet."""


class CorpusError(SpeechError):
    """A corpus as a whole cannot be used: its manifest is broken, or it has no speaker left."""


class CheckpointMismatch(SpeechError):
    """A checkpoint does not belong to the model that should load it."""


class ModelError(SpeechError):
    """A model cannot be found, made or trained as it was asked for."""


class ExportError(SpeechError):
    """A model cannot be exported, or its export computes something else."""


class LanguageModelError(SpeechError):
    """A language model cannot be made, read or used with the characters of this model."""
