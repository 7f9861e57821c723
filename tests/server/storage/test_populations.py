"""No run on any of the same people begins with nothing spent, unless its owner says so in words."""

import hashlib
import itertools
import shutil

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.run.settings import check
from privacy import BudgetExhausted, Ledger, LedgerCorrupt, Release, read_ledger
from recipes import ConfigError, resolve
from server.federation import run_federation
from speech.corpora.loading import load_corpus
from tests.corpora import make_corpus
from tests.server.in_process import recipe, silent_speakers
from tests.strategies.flower import FakeGrid

RUNS = itertools.count()
NO_NAME = {"privacy.people": ""}
SYNTHETIC = {"said": {"synthetic": True}, "privacy.people": ""}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"), {"test": 1}, utterances=1)


def tokens(*people):
    return {"namespace": "n", "tokens": b"".join(bytes([person]) * 16 for person in people)}


def run(corpus, datasets, said=None, **changes):
    """A run of two rounds on a node with two speakers for each of `datasets`; returns its folder."""
    nodes = {
        number: silent_speakers(2, dataset, **(said or {}))
        for number, dataset in enumerate(datasets, start=1)
    }
    settings = {"training.rounds": 2, "run.sentences-shown": 0, **changes}
    return run_federation(FakeGrid(nodes), recipe(corpus, **settings), run_id=f"{next(RUNS)}")


def ledger_of(folder):
    return (folder / "ledger.jsonl").resolve()


def of_before_names(people):
    """A ledger as a run without `privacy.people` left it, with one release."""
    path = resolve("runs") / "ledgers" / f"{people}.jsonl"
    with Ledger.open(path) as ledger:
        ledger.spend(Release(sampling_rate=0.5, noise_multiplier=1.0), run="old", dataset=people, round=1)
    return path


def test_a_private_run_on_people_needs_a_name_for_them(corpus):
    with pytest.raises(ConfigError, match=r'privacy.people = "".*a name of your choice'):
        run(corpus, "a", **NO_NAME)
    assert not list(resolve("runs").glob("ledgers/*"))  # nothing was made
    run(corpus, "a", **NO_NAME, **{"privacy.noise-multiplier": 0.0})
    run(corpus, "b", **SYNTHETIC)


def test_a_name_is_asked_for_on_the_command_line_before_anything_starts(tmp_path):
    path = make_corpus(tmp_path / "c", {"train": 4, "test": 1}, utterances=1)
    settings = {"corpus.kind": "manifest", "corpus.path": str(path), "training.cohort": 2.0}
    with pytest.raises(ConfigError, match=r'privacy.people = "".*a name of your choice'):
        check(settings)
    of_before_names(digest := load_corpus("manifest", str(path)).digest)
    with pytest.raises(ConfigError, match=f"set privacy.people = '{digest}', now and from now on"):
        check(settings)
    of_before_names("ward")
    with pytest.raises(ConfigError, match=rf"spent on the same speech in '{digest}': set"):
        check(settings)
    check({**settings, "privacy.people": digest})
    check({**settings, "privacy.noise-multiplier": 0.0})


def test_a_corpus_that_has_grown_is_pointed_to_the_ledgers_that_there_are(corpus):
    run(corpus, "a", **{"privacy.people": "ward-7"})
    with pytest.raises(ConfigError, match=r"there are ledgers of 'ward-7': for the same people, take that"):
        run(corpus, ["a and more"], **NO_NAME)


def test_the_first_run_of_a_name_says_whom_it_takes_to_be_others(corpus):
    """A corpus that has grown since its first ledger looks like other people: its owner is told."""
    said = "has spent nothing yet: this run takes its people to be none of those of the ledgers 'ab"
    run(corpus, "v", **SYNTHETIC)
    assert (
        "has spent nothing yet"
        not in (run(corpus, "b", **{"privacy.people": "b"}) / "summary.txt").read_text()
    )
    of_before_names("ab" * 32)
    assert said in (run(corpus, ["grown"]) / "summary.txt").read_text()
    assert said not in (run(corpus, ["grown"]) / "summary.txt").read_text()


def test_a_grown_corpus_goes_on_in_its_ledger_and_its_budget(corpus):
    """A recording more is another digest: under its name all that was spent still counts."""
    first = run(corpus, "a")
    budget = recipe(corpus, **{"training.rounds": 3})
    grown = run(corpus, ["a and more"])
    assert ledger_of(grown) == ledger_of(first) and len(read_ledger(ledger_of(first))) == 4
    assert "with 2 releases of other runs on them" in (grown / "summary.txt").read_text()
    assert budget.privacy.people == "ward"


def test_a_ledger_that_was_renamed_does_not_begin_anew(corpus):
    """Its entries are of the name that it had, and under the new one nothing would count them."""
    ledger = ledger_of(run(corpus, "a"))
    for file in list(ledger.parent.glob("ward.*")):
        file.rename(file.with_name(file.name.replace("ward", "clinic")))
    with pytest.raises(LedgerCorrupt, match=r"clinic.jsonl is named for 'clinic' and its entries are of 'wa"):
        run(corpus, "a", **{"privacy.people": "clinic"})
    assert len(read_ledger(ledger.with_name("clinic.jsonl"))) == 2


def test_an_old_ledger_that_is_named_by_a_digest_goes_on_under_it(corpus):
    old = of_before_names("ab" * 32)
    with pytest.raises(ConfigError, match=f"set privacy.people = '{old.stem}'"):
        run(corpus, ["ab" * 32], **NO_NAME)
    with pytest.raises(ConfigError, match=f"begin with that uncounted. Set privacy.people = '{old.stem}'"):
        run(corpus, ["ab" * 32], **{"privacy.people": "ward"})
    assert ledger_of(run(corpus, ["ab" * 32, "cd"], **{"privacy.people": old.stem})) == old
    assert len(read_ledger(old)) == 3


def test_synthetic_speakers_need_no_name_and_are_kept_to_one_ledger_too(corpus):
    first = ledger_of(run(corpus, "ab", **SYNTHETIC))
    for nodes in ("a", "abc"):
        with pytest.raises(ConfigError, match=rf"privacy.people = '{first.stem}', now and from now on"):
            run(corpus, nodes, **SYNTHETIC)
    assert ledger_of(run(corpus, "ab", **SYNTHETIC)) == first


def test_what_is_not_counted_must_be_said_and_is_said_everywhere(corpus):
    other = ledger_of(run(corpus, "a", **{"privacy.people": "other"}))
    with pytest.raises(ConfigError, match=r'or say privacy.uncounted = "other"'):
        run(corpus, "ab")
    said = "other runs have spent on some of these people in the ledger 'other': no epsilon here counts that"
    folder = run(corpus, "ab", **{"privacy.uncounted": "other"})
    assert said in (folder / "summary.txt").read_text()
    assert f"**O{said[1:]}.**" in (folder / "card.md").read_text()
    shown = CliRunner().invoke(app, ["ledger", "show", str(folder)]).stdout
    assert f"WARNING: {said}" in shown and f"(folder {folder.name})" in shown
    again = run(corpus, "ab", **{"privacy.uncounted": "other"})
    assert said in (again / "summary.txt").read_text()
    with pytest.raises(ConfigError, match=r'or say privacy.uncounted = "ward"'):
        run(corpus, "b", **{"privacy.people": "third"})
    assert other.is_file()


def test_two_ledgers_left_aside_are_both_named(corpus):
    run(corpus, "a", **{"privacy.people": "one"})
    run(corpus, "b", **{"privacy.people": "two"})
    with pytest.raises(ConfigError, match=r'privacy.uncounted = "two,one"'):
        run(corpus, "ab", **{"privacy.uncounted": "two"})
    run(corpus, "ab", **{"privacy.uncounted": " one, two"})


def test_a_ledger_that_is_not_there_cannot_be_left_aside(corpus):
    with pytest.raises(ConfigError, match=r"privacy.uncounted: there is no ledger 'nowhere'"):
        run(corpus, "a", **{"privacy.uncounted": "nowhere"})


def test_a_name_that_is_no_plain_one_goes_on_where_it_has_a_ledger(corpus):
    """An older release took any name, and made a file name of it."""
    odd, plain = "the ward, west", hashlib.sha256(b"the ward, west").hexdigest()
    with pytest.raises(ConfigError, match=r"privacy.people = 'the ward, west': a name has letters"):
        run(corpus, "a", **{"privacy.people": odd})
    path = resolve("runs") / "ledgers" / f"{plain}.jsonl"
    with Ledger.open(path) as ledger:
        ledger.spend(Release(sampling_rate=1.0, noise_multiplier=1.0), run="old", dataset=odd, round=1)
    path.with_suffix(".speech").write_text("a")
    with pytest.raises(ConfigError, match=r"Set privacy.people = 'the ward, west', now"):
        run(corpus, "a")
    assert (
        "with 1 releases of other runs"
        in (run(corpus, "a", **{"privacy.people": odd}) / "summary.txt").read_text()
    )


def test_people_are_known_again_by_their_tokens_in_another_corpus_under_another_name(corpus):
    first = run(corpus, "a", tokens(1, 2), **{"privacy.people": "one"})
    speakers = ledger_of(first).with_suffix(".speakers")
    assert speakers.stat().st_mode & 0o777 == 0o600 and len(speakers.read_text().split()) == 2
    with pytest.raises(ConfigError, match=r'or say privacy.uncounted = "one"'):
        run(corpus, "b", tokens(2, 3), **{"privacy.people": "two"})
    run(corpus, "b", tokens(3, 4), **{"privacy.people": "two"})


def test_a_ledger_that_holds_nothing_is_no_obstacle(corpus, monkeypatch):
    from server.storage.run_folder import RunFolder

    def refuse(*arguments):
        raise ConfigError("no folder")

    with monkeypatch.context() as patch, pytest.raises(ConfigError, match="no folder"):
        patch.setattr(RunFolder, "create", refuse)
        run(corpus, "a", **{"privacy.people": "one"})
    run(corpus, "a", **{"privacy.people": "two"})


def test_a_ledger_that_is_gone_is_missed(corpus):
    ledger_of(run(corpus, "a")).unlink()
    with pytest.raises(LedgerCorrupt, match=r"0 entries\) lacks entries that ward.head, .*round-000002"):
        run(corpus, "a")
    with pytest.raises(ConfigError, match=r'or say privacy.uncounted = "ward"'):
        run(corpus, "a", **{"privacy.people": "new"})
    run(corpus, "a", **{"privacy.people": "new", "privacy.uncounted": "ward"})


@pytest.mark.parametrize("kept", ["folders", "head"])
def test_an_older_copy_of_a_ledger_is_noticed(corpus, kept):
    folder = run(corpus, "a")
    ledger = ledger_of(folder)
    older = ledger.read_bytes()
    newer = run(corpus, "a")
    ledger.write_bytes(older)
    if kept == "folders":
        ledger.with_suffix(".head").unlink()
    else:
        shutil.rmtree(newer)
    saw = f"{newer.name}/checkpoints/round-000002.safetensors" if kept == "folders" else "ward.head"
    with pytest.raises(
        LedgerCorrupt, match=rf"2 entries\) lacks entries that {saw} saw: it is an older copy"
    ):
        run(corpus, "a")
    with pytest.raises(LedgerCorrupt, match="lacks entries"):
        run(corpus, "a", **{"run.resume": str(folder)})
    assert ledger.read_bytes() == older
    name = {"privacy.people": "after-the-fire", "privacy.uncounted": "ward"}
    run(corpus, "a", **name)  # in words


def test_a_checkpoint_that_cannot_be_read_is_told_and_stops_nobody(corpus):
    folder = run(corpus, "a")
    broken = folder / "checkpoints" / "round-000002.safetensors"
    broken.write_bytes(b"torn")
    text = (run(corpus, "a") / "summary.txt").read_text()
    assert f"{broken} cannot be read: whether the ledger holds what it saw is not known" in text


def test_the_releases_of_other_runs_stop_a_run_at_its_budget(corpus):
    first = run(corpus, "a", **{"training.rounds": 4})
    folder = run(corpus, ["a and more"], **{"privacy.epsilon-budget": 4.0, "training.rounds": 4})
    assert "stopped before the last round: The budget is" in (folder / "summary.txt").read_text()
    assert len(read_ledger(ledger_of(first))) < 8 and issubclass(BudgetExhausted, Exception)
