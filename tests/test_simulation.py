"""A whole small federation through Flower's simulation engine on Ray, as `murmur run` starts it."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file

from cli.composing import staged_app
from cli.processes import free_port
from privacy import epsilon, ledger_releases, read_ledger
from server.federation import MESSAGES_UNDER_WAY
from tests.corpora import make_corpus
from tests.processes import kill_all_of, run_command, server, wait_until

pytestmark = pytest.mark.federation


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"), {"train": 6, "test": 2})


def settings(corpus, **changes):
    chosen = {
        "corpus.kind": "manifest",
        "corpus.path": str(corpus),
        "model.seed": "random",
        "training.rounds": 3,
        "training.cohort": 4.0,
        "privacy.population-name": "ward",
        **changes,
    }
    pairs = " ".join(
        f'{key}="{value}"' if isinstance(value, str) else f"{key}={str(value).lower()}"
        for key, value in chosen.items()
    )
    return ["--set", pairs]


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    """One run from a folder that is not the checkout, and its output."""
    home, elsewhere = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("elsewhere")
    chosen = settings(corpus, **{"run.raw-metrics": True})
    done = run_command("murmur", "run", "--nodes", 2, *chosen, home=home, cwd=elsewhere)
    assert done.returncode == 0, done.stdout
    return home, elsewhere, done.stdout


def test_the_table_shows_every_round_and_both_epsilons(finished):
    _, _, output = finished
    rows = [line.split() for line in output.splitlines() if line[:5].strip().isdigit()]
    assert [row[0] for row in rows] == ["0", "1", "2", "3"]
    assert "THIS run: population 6, expected cohort 4" in output
    assert "not this run" in output
    assert "held-out WER" in output


def test_the_run_folder_holds_the_whole_run(finished):
    home, _, _ = finished
    folder = home / "runs" / "latest"
    names = {"config.toml", "ledger.jsonl", "metrics.jsonl", "model.safetensors", "seed.safetensors",
             "summary.txt", "checkpoints"}  # fmt: skip
    assert names <= {path.name for path in folder.iterdir()}
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["round"] for line in metrics] == [0, 1, 2, 3]
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    assert [entry.round for entry in read_ledger(folder / "ledger.jsonl")] == [1, 2, 3]


def test_raw_metrics_that_were_asked_for_lie_apart_and_are_named_as_such(finished):
    home, _, output = finished
    folder = home / "runs" / "latest"
    first, *lines = map(json.loads, (folder / "not_private.jsonl").read_text().splitlines())
    assert "without noise" in first["not_private"]
    assert {line["round"] for line in lines} <= {1, 2, 3}
    assert all(line["train_loss"] > 0 for line in lines)
    assert "not_private.jsonl" in output
    assert '"train_loss":' not in (folder / "metrics.jsonl").read_text()


def test_its_model_transcribes(finished, corpus):
    home, elsewhere, _ = finished
    audio = corpus.parent / "test-00-0.flac"
    done = run_command(
        "murmur", "transcribe", "--run", home / "runs" / "latest", audio, home=home, cwd=elsewhere
    )
    assert done.returncode == 0, done.stdout
    assert audio.name in done.stdout


def test_every_node_counts_where_three_windows_of_them_are_contacted(tmp_path):
    """Of the messages that wait for their turn, Flower's engine knows nothing when the first reply comes."""
    nodes = 3 * MESSAGES_UNDER_WAY
    corpus = make_corpus(tmp_path / "corpus", {"train": nodes, "test": 1}, utterances=1)
    everybody = {"training.rounds": 1, "training.cohort": float(nodes), "run.sentences-shown": 0}
    chosen = settings(corpus, **everybody)
    done = run_command("murmur", "run", "--nodes", nodes, *chosen, home=tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    lines = map(json.loads, (tmp_path / "runs" / "latest" / "traffic.jsonl").read_text().splitlines())
    (line,) = [line for line in lines if "drawn" in line]
    assert (line["nodes_asked"], line["nodes_answered"], line["dropped"]) == (nodes, nodes, [])


def test_the_model_is_the_same_to_the_bit_however_nodes_and_workers_share_the_work(corpus, tmp_path):
    """Six nodes on one worker, several in a call; one node that several workers train; two hosts."""
    everybody = {"training.rounds": 2, "training.cohort": 6.0, "training.evaluate-every": 2}
    seeded = {"privacy.noise-source": "seeded-not-private", "privacy.noise-seed": 5, "model.seed": "embedded"}
    models = []
    for number, shared in enumerate(
        [("--nodes", 6, "--cpus-per-node", os.cpu_count()), ("--nodes", 1), ("--nodes", 6, "--hosts", 2)]
    ):
        home = tmp_path / str(number)
        home.mkdir()
        chosen = settings(corpus, **everybody, **seeded)
        done = run_command("murmur", "run", *shared, *chosen, home=home, cwd=home)
        assert done.returncode == 0, done.stdout
        models.append(load_file(home / "runs" / "latest" / "model.safetensors"))
    one, *others = models
    for other in others:
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_killed_run_is_resumed_and_what_it_released_stays_spent(corpus, tmp_path):
    """Every process of the run dies at once, Ray's too, as in a power cut."""
    rounds = 12
    chosen = settings(corpus, **{"training.rounds": rounds})
    ledger = tmp_path / "runs" / "latest" / "ledger.jsonl"

    def released():
        return read_ledger(ledger) if ledger.exists() else ()

    with server("murmur", "run", "--nodes", "2", *chosen, home=tmp_path, log=tmp_path / "first.log"):
        wait_until(lambda: len(released()) >= 2, seconds=120, what="the second release")
        kill_all_of(tmp_path)
    before = released()
    assert 2 <= len(before) < rounds
    done = run_command("murmur", "run", "--nodes", 2, "--resume", "runs/latest", home=tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    after = released()
    assert after[: len(before)] == before
    made_anew = len(after) - rounds  # a release whose checkpoint the crash prevented
    assert made_anew in (0, 1) and after[-1].round == rounds
    folder = ledger.parent
    spent = epsilon(ledger_releases(after), 1e-7, pld=False).rdp
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert (last["round"], last["epsilon_rdp_this_run"]) == (rounds, pytest.approx(spent, rel=1e-9))
    assert len(list((tmp_path / "runs").glob("2*"))) == 1 and "resumed after round" in done.stdout


def test_a_killed_run_is_resumed_with_its_population_after_a_speaker_left(corpus, tmp_path):
    rounds = 6
    chosen = settings(corpus, **{"training.rounds": rounds})
    ledger = tmp_path / "runs" / "latest" / "ledger.jsonl"
    with server("murmur", "run", "--nodes", "2", *chosen, home=tmp_path, log=tmp_path / "first.log"):
        wait_until(
            lambda: ledger.exists() and len(read_ledger(ledger)) >= 2, seconds=120, what="the second release"
        )
        kill_all_of(tmp_path)
    leave = ("murmur", "corpus", "leave", "train-02", "--corpus-path", corpus)
    left = run_command(*leave, home=tmp_path, cwd=tmp_path)
    assert left.returncode == 0, left.stdout
    done = run_command("murmur", "run", "--nodes", 2, "--resume", "runs/latest", home=tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "2 nodes with 6 speakers" in done.stdout
    assert read_ledger(ledger)[-1].round == rounds


def test_a_run_that_cannot_start_ends_with_one_clear_message_and_no_success(corpus, tmp_path):
    chosen = settings(corpus, **{"model.seed": "embedded", "model.trainable": "nosuch.*"})
    done = run_command("murmur", "run", "--nodes", 2, *chosen, home=tmp_path, cwd=tmp_path)
    assert done.returncode == 1
    assert "model.trainable = 'nosuch.*'" in done.stdout
    assert "murmur run: the run failed, see above" in done.stdout
    assert "Traceback" not in done.stdout


def test_flowers_own_command_runs_the_same_app(corpus, tmp_path):
    """`flwr run` of the README. The SuperLink that it leaves behind is the test's own, and ends with it."""
    _, pairs = settings(corpus, **{"training.rounds": 1})
    ports = ("FLWR_LOCAL_SUPERLINK_HTTP_API_PORT", "FLWR_LOCAL_CONTROL_API_PORT")
    variables = {name: str(free_port()) for name in ports}
    size = "num-supernodes=2 client-resources-num-cpus=1"
    command = ("flwr", "run", staged_app(tmp_path / "app"), "--stream")
    chosen = ("--run-config", pairs, "--federation-config", size)
    try:
        done = run_command(*command, *chosen, home=tmp_path, cwd=tmp_path, variables=variables)
        assert "held-out WER" in done.stdout, done.stdout
    finally:
        kill_all_of(tmp_path)
    assert [entry.round for entry in read_ledger(tmp_path / "runs" / "latest" / "ledger.jsonl")] == [1]


def test_a_bad_setting_is_refused_before_anything_starts(corpus, tmp_path):
    done = run_command(
        "murmur", "run", *settings(corpus, **{"privacy.delta": 2.0}), home=tmp_path, cwd=tmp_path
    )
    assert done.returncode == 2
    assert "privacy.delta = 2.0" in done.stdout
    assert not (tmp_path / "runs").exists()
