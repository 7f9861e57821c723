"""The sound of a few utterances, for `murmur report`: 16 kHz mono, Opus in Ogg, as base64.

Guarantee: a sound is encoded anew from the samples of its utterance alone: nothing else of the file, its
name or its tags is in it.
"""

from __future__ import annotations

import io
from base64 import b64encode

import soundfile

from speech.audio import SAMPLE_RATE_HZ
from speech.corpora.corpus import Corpus


def sound_of(corpus: Corpus, split: str, speaker: str, utterance: str) -> str:
    """The sound of an utterance as the model got it.

    Raises:
        CorpusError: If the split has no such speaker.
        AudioError: If the recording cannot be read any more.
    """
    found = next(one for one in corpus.utterances(split, speaker) if one.id == utterance)
    samples = corpus.recording(found.audio).segment(found.offset_seconds, found.duration_seconds)
    encoded = io.BytesIO()
    soundfile.write(encoded, samples.numpy(), SAMPLE_RATE_HZ, format="OGG", subtype="OPUS")
    return b64encode(encoded.getvalue()).decode("ascii")
