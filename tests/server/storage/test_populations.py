"""No run on any of the same speakers starts from zero, unless its owner allows it explicitly."""

import hashlib
import itertools
import shutil

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.run.settings import check
from privacy import BudgetExhausted, Ledger, LedgerCorrupt, Release, read_ledger
from recipes import ConfigError, runs_folder
from server.federation import run_federation
from speech.corpora.loading import load_corpus
from tests.corpora import make_corpus
from tests.server.in_process import recipe, silent_speakers
from tests.strategies.flower import FakeGrid

RUNS = itertools.count()
NO_NAME = {"privacy.population-name": ""}
SYNTHETIC = {"said": {"synthetic": True}, "privacy.population-name": ""}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"), {"test": 1}, utterances=1)


def tokens(*speakers):
    return {"namespace": "n", "tokens": b"".join(bytes([speaker]) * 16 for speaker in speakers)}


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


def of_before_names(name):
    """A ledger as a run without `privacy.population-name` left it, with one release."""
    path = runs_folder() / "ledgers" / f"{name}.jsonl"
    with Ledger.open(path) as ledger:
        ledger.spend(Release(sampling_rate=0.5, noise_multiplier=1.0), run="old", dataset=name, round=1)
    return path


def test_a_private_run_on_real_speakers_needs_a_population_name(corpus):
    with pytest.raises(ConfigError, match=r'privacy.population-name = "".*a name of your choice'):
        run(corpus, "a", **NO_NAME)
    assert not list(runs_folder().glob("ledgers/*"))  # nothing was made
    run(corpus, "a", **NO_NAME, **{"privacy.noise-multiplier": 0.0})
    run(corpus, "b", **SYNTHETIC)


def test_a_name_is_asked_for_on_the_command_line_before_anything_starts(tmp_path):
    path = make_corpus(tmp_path / "c", {"train": 4, "test": 1}, utterances=1)
    settings = {"corpus.kind": "manifest", "corpus.path": str(path), "training.cohort": 2.0}
    with pytest.raises(ConfigError, match=r'privacy.population-name = "".*a name of your choice'):
        check(settings)
    of_before_names(digest := load_corpus("manifest", str(path)).digest)
    with pytest.raises(
        ConfigError, match=f"set privacy.population-name = '{digest}' in this and all later runs"
    ):
        check(settings)
    of_before_names("ward")
    with pytest.raises(ConfigError, match=rf"spent on the same speech in the ledger '{digest}': set"):
        check(settings)
    check({**settings, "privacy.population-name": digest})
    check({**settings, "privacy.noise-multiplier": 0.0})


def test_a_corpus_that_has_grown_is_pointed_to_the_ledgers_that_there_are(corpus):
    run(corpus, "a", **{"privacy.population-name": "ward-7"})
    with pytest.raises(ConfigError, match=r"there are ledgers of 'ward-7': for the same speakers, use that"):
        run(corpus, ["a and more"], **NO_NAME)


def test_the_first_run_of_a_name_names_the_ledgers_of_others(corpus):
    """A corpus that has grown since its first ledger looks like another population: its owner is warned."""
    said = "has no releases yet: this run assumes that none of its speakers is in the ledgers 'ab"
    run(corpus, "v", **SYNTHETIC)
    assert (
        "has no releases yet"
        not in (run(corpus, "b", **{"privacy.population-name": "b"}) / "summary.txt").read_text()
    )
    of_before_names("ab" * 32)
    assert said in (run(corpus, ["grown"]) / "summary.txt").read_text()
    assert said not in (run(corpus, ["grown"]) / "summary.txt").read_text()


def test_a_ledger_that_is_declared_uncounted_is_not_assumed_to_have_other_speakers(corpus):
    named = {"privacy.population-name": "new"}
    run(corpus, "a")
    summary = (run(corpus, "a", **named, **{"privacy.uncounted": "ward"}) / "summary.txt").read_text()
    assert "no epsilon here includes it" in summary and "has no releases yet" not in summary


def test_a_grown_corpus_goes_on_in_its_ledger_and_its_budget(corpus):
    """A recording more is another digest: under its name all that was spent still counts."""
    first = run(corpus, "a")
    budget = recipe(corpus, **{"training.rounds": 3})
    grown = run(corpus, ["a and more"])
    assert ledger_of(grown) == ledger_of(first) and len(read_ledger(ledger_of(first))) == 4
    assert "with 2 releases of other runs on them" in (grown / "summary.txt").read_text()
    assert budget.privacy.population_name == "ward"


def test_a_ledger_that_was_renamed_does_not_begin_anew(corpus):
    """Its entries are of the name that it had, and under the new one nothing would count them."""
    ledger = ledger_of(run(corpus, "a"))
    for file in list(ledger.parent.glob("ward.*")):
        file.rename(file.with_name(file.name.replace("ward", "clinic")))
    with pytest.raises(LedgerCorrupt, match=r"clinic.jsonl has the name 'clinic', and its entries have 'wa"):
        run(corpus, "a", **{"privacy.population-name": "clinic"})
    assert len(read_ledger(ledger.with_name("clinic.jsonl"))) == 2


def test_an_old_ledger_that_is_named_by_a_digest_goes_on_under_it(corpus):
    old = of_before_names("ab" * 32)
    with pytest.raises(ConfigError, match=f"set privacy.population-name = '{old.stem}'"):
        run(corpus, ["ab" * 32], **NO_NAME)
    with pytest.raises(
        ConfigError, match=f"would not count that. Set privacy.population-name = '{old.stem}'"
    ):
        run(corpus, ["ab" * 32], **{"privacy.population-name": "ward"})
    assert ledger_of(run(corpus, ["ab" * 32, "cd"], **{"privacy.population-name": old.stem})) == old
    assert len(read_ledger(old)) == 3


def test_synthetic_speakers_need_no_name_and_are_kept_to_one_ledger_too(corpus):
    first = ledger_of(run(corpus, "ab", **SYNTHETIC))
    for nodes in ("a", "abc"):
        with pytest.raises(ConfigError, match=rf"privacy.population-name = '{first.stem}' in this and all"):
            run(corpus, nodes, **SYNTHETIC)
    assert ledger_of(run(corpus, "ab", **SYNTHETIC)) == first


def test_what_is_not_counted_must_be_said_and_is_said_everywhere(corpus):
    other = ledger_of(run(corpus, "a", **{"privacy.population-name": "other"}))
    with pytest.raises(ConfigError, match=r'or set privacy.uncounted = "other"'):
        run(corpus, "ab")
    said = (
        "other runs have spent on some of these speakers in the ledger 'other': no epsilon here includes it"
    )
    folder = run(corpus, "ab", **{"privacy.uncounted": "other"})
    assert said in (folder / "summary.txt").read_text()
    card = (folder / "card.md").read_text()  # which is published: what a ledger is called stays here
    assert "**Other runs have spent on some of these speakers in 1 other ledger: no epsilon here" in card
    assert "'other'" not in card
    shown = CliRunner().invoke(app, ["ledger", "show", str(folder)]).stdout
    assert f"WARNING: {said}" in shown and f"(folder {folder.name})" in shown
    again = run(corpus, "ab", **{"privacy.uncounted": "other"})
    assert said in (again / "summary.txt").read_text()
    with pytest.raises(ConfigError, match=r'or set privacy.uncounted = "ward"'):
        run(corpus, "b", **{"privacy.population-name": "third"})
    assert other.is_file()


def test_two_ledgers_left_aside_are_both_named(corpus):
    run(corpus, "a", **{"privacy.population-name": "one"})
    run(corpus, "b", **{"privacy.population-name": "two"})
    with pytest.raises(ConfigError, match=r'privacy.uncounted = "two,one"'):
        run(corpus, "ab", **{"privacy.uncounted": "two"})
    run(corpus, "ab", **{"privacy.uncounted": " one, two"})


def test_a_ledger_that_is_not_there_cannot_be_left_aside(corpus):
    with pytest.raises(ConfigError, match=r"privacy.uncounted: there is no ledger 'nowhere'"):
        run(corpus, "a", **{"privacy.uncounted": "nowhere"})


def test_a_name_that_is_no_plain_one_goes_on_where_it_has_a_ledger(corpus):
    """An older release took any name, and made a file name of it."""
    odd, plain = "the ward, west", hashlib.sha256(b"the ward, west").hexdigest()
    with pytest.raises(ConfigError, match=r"privacy.population-name = 'the ward, west': a name consists of"):
        run(corpus, "a", **{"privacy.population-name": odd})
    path = runs_folder() / "ledgers" / f"{plain}.jsonl"
    with Ledger.open(path) as ledger:
        ledger.spend(Release(sampling_rate=1.0, noise_multiplier=1.0), run="old", dataset=odd, round=1)
    path.with_suffix(".speech").write_text("a")
    with pytest.raises(ConfigError, match=r"Set privacy.population-name = 'the ward, west' in this"):
        run(corpus, "a")
    assert (
        "with 1 release of other runs"
        in (run(corpus, "a", **{"privacy.population-name": odd}) / "summary.txt").read_text()
    )


def test_speakers_are_recognised_by_their_tokens_in_another_corpus_under_another_name(corpus):
    first = run(corpus, "a", tokens(1, 2), **{"privacy.population-name": "one"})
    speakers = ledger_of(first).with_suffix(".speakers")
    assert speakers.stat().st_mode & 0o777 == 0o600 and len(speakers.read_text().split()) == 2
    with pytest.raises(ConfigError, match=r'or set privacy.uncounted = "one"'):
        run(corpus, "b", tokens(2, 3), **{"privacy.population-name": "two"})
    run(corpus, "b", tokens(3, 4), **{"privacy.population-name": "two"})


def test_a_ledger_that_holds_nothing_is_no_obstacle(corpus, monkeypatch):
    from server.storage.run_folder import RunFolder

    def refuse(*arguments):
        raise ConfigError("no folder")

    with monkeypatch.context() as patch, pytest.raises(ConfigError, match="no folder"):
        patch.setattr(RunFolder, "create", refuse)
        run(corpus, "a", **{"privacy.population-name": "one"})
    run(corpus, "a", **{"privacy.population-name": "two"})


def test_a_ledger_that_is_gone_is_missed(corpus):
    ledger_of(run(corpus, "a")).unlink()
    with pytest.raises(LedgerCorrupt, match=r"0 entries\) lacks entries that ward.head, .*round-000002"):
        run(corpus, "a")
    with pytest.raises(ConfigError, match=r'or set privacy.uncounted = "ward"'):
        run(corpus, "a", **{"privacy.population-name": "new"})
    run(corpus, "a", **{"privacy.population-name": "new", "privacy.uncounted": "ward"})


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
        LedgerCorrupt, match=rf"2 entries\) lacks entries that {saw} recorded: it is an older copy"
    ):
        run(corpus, "a")
    with pytest.raises(LedgerCorrupt, match="lacks entries"):
        run(corpus, "a", **{"run.resume": str(folder)})
    assert ledger.read_bytes() == older
    name = {"privacy.population-name": "after-the-fire", "privacy.uncounted": "ward"}
    run(corpus, "a", **name)


def test_a_checkpoint_that_cannot_be_read_is_told_and_stops_nobody(corpus):
    folder = run(corpus, "a")
    broken = folder / "checkpoints" / "round-000002.safetensors"
    broken.write_bytes(b"torn")
    text = (run(corpus, "a") / "summary.txt").read_text()
    assert f"{broken} cannot be read: it is not known whether the ledger has " in text


def test_the_releases_of_other_runs_leave_a_run_no_budget(corpus):
    first = run(corpus, "a", **{"training.rounds": 4})
    before = ledger_of(first).read_bytes()
    with pytest.raises(BudgetExhausted, match="is spent by all of them together"):
        run(corpus, ["a and more"], **{"privacy.epsilon-budget": 4.0, "training.rounds": 4})
    assert ledger_of(first).read_bytes() == before
