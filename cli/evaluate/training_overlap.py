"""Is a model about to be evaluated on speakers of the private run that trained it?

Its guarantee covers the model, and what is computed from the model and from the speech of *other* speakers.
An error rate on the training population is computed from that population once more, without noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cli.composing import config_of_run
from privacy import read_ledger
from recipes import corpus_path
from recipes.sections import CorpusSection
from server.storage.checkpoints import load_checkpoint
from server.storage.ledgers import require_spent
from server.storage.run_folder import RunFolder
from server.storage.run_ids import run_of
from speech.corpora.corpus import Corpus
from speech.corpora.loading import load_corpus
from speech.errors import SpeechError
from speech.model.checkpoint import LoadedModel


@dataclass(frozen=True, kw_only=True)
class Caution:
    """What to say, and whether it is `certain` that training speech is looked at."""

    text: str
    certain: bool


def caution(model: Path, loaded: LoadedModel, corpus: Corpus, split: str, place: str) -> Caution | None:
    """What evaluating the model of a file on a split of the corpus at `place` calls for; None for nothing.

    Raises `LedgerCorrupt` for the ledger of a run folder that cannot be read, and `SpendingUnknown` for one
    that does not hold what the run released.
    """
    if loaded.metadata.get("privacy", "none") == "none":
        return None
    folder = RunFolder(model.resolve().parent)
    _require_spent(folder)
    trained = _trained_on(folder, corpus, split, place)
    if trained is None:
        return Caution(
            text=f"{model} comes from a private run. If it was trained on speakers of split {split!r}, no "
            "epsilon covers these figures.",
            certain=False,
        )
    if not trained:
        return None
    return Caution(
        text=f"{len(trained)} speakers of split {split!r} are in the population of this private run: "
        "no figure about them, not even an average, is covered by its epsilon. Publish none.",
        certain=True,
    )


def _require_spent(folder: RunFolder) -> None:
    """Raise `SpendingUnknown` for a run whose releases are not in the ledger beside it."""
    newest = folder.newest_checkpoint()
    if newest is None or not folder.ledger.is_file():
        return
    checkpoint = load_checkpoint(newest, tensors=False)
    run, entries = run_of(checkpoint, folder.path), read_ledger(folder.ledger)
    made = folder.rounds_made(checkpoint.round_number)
    require_spent(entries, checkpoint.population_name, run, checkpoint.plan, made, folder.path)


def _trained_on(folder: RunFolder, corpus: Corpus, split: str, place: str) -> set[str] | None:
    """The split's speakers whom the run may have drawn; None where nothing shows whether there are any."""
    if not (folder.path / "config.toml").is_file():
        return None
    section = config_of_run(folder.path).corpus
    train, home = section.train_split, _at_home(section)
    if corpus.digest in {*_in_ledger(folder), home.digest if home else ""}:
        return _speakers(corpus, split) & _speakers(corpus, train)
    if home is None or _real_folder(place) != _real_folder(corpus_path(section.kind, section.path)):
        return None
    # The run's speech by other rules, such as max-seconds, or what lies beside it.
    return _speakers(corpus, split) & _speakers(home, train) or None


def _speakers(corpus: Corpus, split: str) -> set[str]:
    return set(corpus.speakers(split)) if split in corpus.splits else set()


def _real_folder(place: str) -> Path:
    """The folder of a corpus, which may be named by a file in it."""
    path = Path(place).resolve()
    return path.parent if path.is_file() else path


def _in_ledger(folder: RunFolder) -> set[str]:
    return {entry.dataset for entry in read_ledger(folder.ledger)} if folder.ledger.is_file() else set()


def _at_home(section: CorpusSection) -> Corpus | None:
    """The recipe's corpus as it lies here now; None where it does not."""
    try:
        return load_corpus(section.kind, corpus_path(section.kind, section.path), **section.rules)
    except SpeechError:
        return None
