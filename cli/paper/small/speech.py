"""The speech of a seed: who is in the population, who is left for dev, and how it lies on the clients.

Guarantee: a seed and a corpus give the same manifest, to the byte but for the place of the audio. No speaker
of dev or test is in the population, unless the study has corpus.shared-speakers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cli.paper.small.experiments import IID
from recipes import ConfigError
from speech.corpora.corpus import Corpus
from speech.corpora.loading import load_corpus
from speech.corpora.manifest_writer import write_manifest
from speech.corpora.speakers import draw_split, require_disjoint, shuffle_speakers

TRAIN, DEV, TEST = SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where speech comes from: a corpus with the splits train and test, and its name in results.

    With `shared_speakers`, speakers of its test split may be in the population.
    """

    name: str = "embedded"
    kind: str = "embedded"
    path: str = ""
    shared_speakers: bool = False

    @classmethod
    def of(cls, folder: Path | None, shared_speakers: bool = False) -> Source:
        """Return that of a folder with a manifest; by default that of the embedded corpus.

        Raises:
            ConfigError: If there is no such folder.
        """
        if folder is None:
            return cls(shared_speakers=shared_speakers)
        place = folder.expanduser().absolute()
        if not place.exists():
            raise ConfigError(f"--speech {folder}: there is no such folder; give one with a manifest.jsonl")
        name = (place if place.is_dir() else place.parent).name
        return cls(name=name, kind="manifest", path=str(place), shared_speakers=shared_speakers)


def prepare(source: Source, speakers: str, seed: int, dev_share: float, out: Path) -> Path:
    """Write the manifest of a seed's speech, unless it is there; return its path.

    A corpus that has a split dev keeps it; of another, `dev_share` of the training speakers become dev.

    Raises:
        CorpusError: If the corpus cannot be loaded, lacks a split, or has speakers in two who may not be.
    """
    folder = out / f"{source.name}-{speakers.replace(' ', '-')}-{seed}"
    if not folder.is_dir():
        write_manifest(dealt(source, speakers, seed, dev_share), folder)
    return folder / "manifest.jsonl"


def population(manifest: Path) -> int:
    """Return how many speakers can be drawn of a manifest that `prepare` has written."""
    return len(load_corpus("manifest", manifest).speakers(TRAIN))


def dealt(source: Source, speakers: str, seed: int, dev_share: float) -> Corpus:
    """Return the corpus of a seed, with train, dev and test alone; raises as `prepare`."""
    whole = load_corpus(source.kind, source.path)
    whole.speakers(TEST)  # raises if there is no such split
    kept = (one for one in whole.all_utterances() if one.split in SPLITS)
    corpus = Corpus.of(whole.name, kept, alphabet=whole.alphabet)
    if not source.shared_speakers:
        require_disjoint(corpus)
    if DEV not in corpus.splits:
        corpus = draw_split(corpus, split=TRAIN, share=dev_share, into=DEV, seed=seed)
    if speakers == IID:
        corpus = shuffle_speakers(corpus, split=TRAIN, seed=seed)
    return corpus
