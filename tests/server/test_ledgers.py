"""One ledger for the same people, whichever nodes come to a run."""

import itertools

import pytest

from privacy import read_ledger
from recipes import ConfigError
from server.federation import run_federation
from tests.corpora import make_corpus
from tests.server.in_process import recipe, silent_speakers
from tests.strategies.flower import FakeGrid

RUNS = itertools.count()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"), {"test": 1}, utterances=1)


def run(corpus, datasets, **changes):
    """A run of two rounds on a node with two speakers for each of `datasets`; returns its folder."""
    nodes = {number: silent_speakers(2, dataset) for number, dataset in enumerate(datasets, start=1)}
    return run_federation(
        FakeGrid(nodes), recipe(corpus, **{"training.rounds": 2, **changes}), run_id=f"{next(RUNS)}"
    )


def ledger_of(folder):
    return (folder / "ledger.jsonl").resolve()


def test_with_a_node_more_or_fewer_the_old_ledger_goes_on(corpus):
    first = ledger_of(run(corpus, "ab"))
    for nodes in ("a", "abc", "bc"):
        with pytest.raises(ConfigError, match=rf"privacy.people = '{first.stem}', now and from now on"):
            run(corpus, nodes)
    assert ledger_of(run(corpus, "abc", **{"privacy.people": first.stem})) == first
    assert len(read_ledger(first)) == 4
    with pytest.raises(ConfigError, match=first.stem):  # now node c's people are in it too
        run(corpus, "c")
    assert ledger_of(run(corpus, "ab")) == first
    assert ledger_of(run(corpus, "d")).stem == "d"


def test_a_single_nodes_ledger_is_found_by_its_name(corpus):
    (own := ledger_of(run(corpus, "a"))).with_suffix(".speech").unlink(missing_ok=True)
    with pytest.raises(ConfigError, match=rf"{own}.*privacy.people = 'a'"):
        run(corpus, "ab")


def test_what_a_name_leaves_aside_is_said(corpus):
    other = ledger_of(run(corpus, "a"))
    summary = (run(corpus, "ab", **{"privacy.people": "ward"}) / "summary.txt").read_text()
    assert f"spent on some of these people in {other}: no epsilon here counts it" in summary


def test_a_ledger_that_holds_nothing_is_no_obstacle(corpus, monkeypatch):
    from server.run_folder import RunFolder

    def refuse(config, run_id):
        raise ConfigError("no folder")

    with monkeypatch.context() as patch, pytest.raises(ConfigError, match="no folder"):
        patch.setattr(RunFolder, "create", refuse)
        run(corpus, "ab")
    run(corpus, "a")
