"""What a training hears: the features of its splits, on disk computed once, by all processes together."""

from collections.abc import Callable, Iterable
from pathlib import Path

from base.registries import MODEL_PRESETS
from speech.corpora.corpus import Corpus
from speech.data.examples import Example, ExampleStore
from speech.data.feature_cache import FeatureCache
from speech.errors import CorpusError
from speech.pretraining.config import PretrainConfig
from speech.pretraining.distributed import Processes

OnFeatures = Callable[[str, int, int], None]
"""Called with a split, and of how many of its speakers the features are there."""


def open_store(corpus: Corpus, config: PretrainConfig, folder: Path | None) -> ExampleStore:
    """The corpus as the preset hears it, its features kept in `folder` where that can be."""
    of_preset = MODEL_PRESETS[config.preset].features
    disk = None if folder is None else FeatureCache.if_possible(folder, corpus, of_preset)
    return ExampleStore(corpus, of_preset, disk=disk)


def compute_together(
    store: ExampleStore, splits: Iterable[str], processes: Processes, tell: OnFeatures
) -> None:
    """Each process computes the features of its share of the speakers, for all to find on the disk."""
    if processes.count == 1 or not store.on_disk:
        return
    for split in splits:
        share = store.corpus.speakers(split)[processes.rank :: processes.count]
        for done, speaker in enumerate(share, start=1):
            store.examples(split, speaker)
            tell(split, done, len(share))
    processes.gathered(None)  # nobody goes on before all are done


def usable(store: ExampleStore, split: str, tell: OnFeatures) -> list[Example]:
    """All examples of a split. Raises `CorpusError` if there is none."""
    examples: list[Example] = []
    speakers = store.corpus.speakers(split)
    for done, speaker in enumerate(speakers, start=1):
        examples += store.examples(split, speaker)
        tell(split, done, len(speakers))
    if not examples:
        raise CorpusError(
            f"{store.corpus.name}: no utterance of split {split!r} has usable audio; the first: "
            f"{store.skipped[0].reason}"
        )
    return examples
