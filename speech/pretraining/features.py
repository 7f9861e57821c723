"""The features of a training: computed once, on disk, by all processes together."""

from collections.abc import Callable, Iterable
from pathlib import Path

from speech.corpora.corpus import Corpus
from speech.data.examples import Example, ExampleStore
from speech.data.feature_cache import FeatureCache
from speech.errors import CorpusError
from speech.model.recogniser import Recogniser
from speech.pretraining.distributed import Processes

OnFeatures = Callable[[str, int, int], None]
"""Called with a split, its speakers with features so far, and all of its speakers."""


def open_store(corpus: Corpus, model: Recogniser, folder: Path | None) -> ExampleStore:
    """Return the examples of a corpus for a model; its input is kept in `folder` if possible."""
    disk = None if folder is None else FeatureCache.if_possible(folder, corpus, model.front_end)
    return ExampleStore(corpus, model.front_end, tokeniser=model.tokeniser, disk=disk)


def compute_together(
    store: ExampleStore, splits: Iterable[str], processes: Processes, on_features: OnFeatures
) -> None:
    """Let each process compute the features of its part of the speakers, on the disk that all share."""
    if processes.count == 1 or not store.on_disk:
        return
    for split in splits:
        share = store.corpus.speakers(split)[processes.rank :: processes.count]
        for done, speaker in enumerate(share, start=1):
            store.examples(split, speaker)
            on_features(split, done, len(share))
    processes.gathered(None)  # wait for all processes


def usable(store: ExampleStore, split: str, on_features: OnFeatures) -> list[Example]:
    """Return all examples of a split.

    Raises:
        CorpusError: If there is none.
    """
    examples: list[Example] = []
    speakers = store.corpus.speakers(split)
    for done, speaker in enumerate(speakers, start=1):
        examples += store.examples(split, speaker)
        on_features(split, done, len(speakers))
    if not examples:
        raise CorpusError(
            f"{store.corpus.name}: no utterance of split {split!r} has usable audio; the first: "
            f"{store.skipped[0].reason}"
        )
    return examples
