"""What `murmur run` decides before anything starts; whole runs are in tests/test_simulation.py."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from cli.composing import default_config, read_recipe, read_settings, with_absolute_paths
from cli.main import app
from cli.processes import free_port
from cli.report.run_facts import RunFacts
from cli.run.forecast import Forecast, Measured, forecast, messages
from cli.run.round_costs import BUSY, NODE_SECONDS, ROUND_SECONDS, SERVER_SECONDS, ValueCosts
from cli.run.settings import check, compose, recipe_of_run
from privacy import PrivacyPlan, epsilon_text
from recipes import ConfigError, RunConfig
from recipes.places import FIRST_RUN
from server.errors import ResumeRefused
from server.factory import make_plan
from speech.corpora.loading import load_corpus
from speech.errors import CorpusError
from tests.cli.report.run_folders import make_run
from tests.corpora import make_corpus
from tests.server.in_process import federate, recipe


@pytest.fixture
def folder(tmp_path):
    corpus = make_corpus(tmp_path / "corpus", {"train": 5, "test": 1}, utterances=1)
    return federate(recipe(corpus, **{"training.rounds": 1, "server.beta1": 0.5}))


def test_a_run_is_resumed_by_its_own_recipe(folder, monkeypatch):
    by_name = recipe_of_run("latest", {})
    assert by_name["server.beta1"] == 0.5
    assert by_name["run.resume"] == str(folder)
    assert check(by_name).run.resume == str(folder)
    monkeypatch.chdir(folder.parent)
    assert recipe_of_run(folder.name, {}) == by_name  # a path counts from here, as a person types it


def test_latest_is_looked_for_where_the_given_recipe_has_its_runs(folder, tmp_path):
    elsewhere = folder.parent.rename(tmp_path / "elsewhere")
    (tmp_path / "r.toml").write_text(f'[run]\nfolder = "{elsewhere}"\n')
    assert compose(tmp_path / "r.toml", "latest", {})["run.resume"] == str(elsewhere / folder.name)


def test_a_resumed_run_that_would_be_another_is_refused_before_anything_starts(folder):
    done = CliRunner().invoke(app, ["run", "--resume", str(folder), "--set", "server.beta1=0.6"])
    assert done.exit_code == 2
    assert "server.beta1 was 0.5 and is now 0.6" in done.stderr


def test_no_run_to_resume_is_said(folder):
    done = CliRunner().invoke(app, ["run", "--resume", "runs/none"])
    assert (done.exit_code, "there is no run folder" in done.stderr) == (2, True)
    with pytest.raises(ResumeRefused):
        recipe_of_run("latest", {"run.folder": "elsewhere"})


def test_a_run_without_a_recipe_is_the_first_run():
    composed = compose(None, None, {})
    assert composed == {**read_recipe(FIRST_RUN), "corpus.path": composed["corpus.path"]}
    assert compose(None, None, {"training.rounds": 3})["training.rounds"] == 3


def test_its_own_epsilon_is_below_8_by_both_accountants():
    config = check(compose(None, None, {}), nodes=8)
    plan = make_plan(config, config.privacy.population)
    spent = plan.epsilon_of(plan.releases_in(config.training.rounds))
    assert plan.is_private and max(spent.rdp, spent.pld) < 8 and config.privacy.delta <= 100_000**-1.1


def test_each_run_draws_a_population_of_its_own():
    paths = {compose(None, None, {})["corpus.path"] for _ in range(5)}
    assert len(paths) == 5 and all(path.startswith("100000x") for path in paths)
    assert len({load_corpus("synthetic", path).digest for path in paths}) == 5
    assert compose(None, None, {"corpus.path": "50x2@a"})["corpus.path"] == "50x2@a"


@pytest.mark.parametrize("name", sorted(path.name for path in FIRST_RUN.parent.glob("*.toml")))
def test_an_explicit_recipe_or_corpus_wins(name):
    file = FIRST_RUN.with_name(name)
    settings = {"corpus.kind": "embedded"}
    assert compose(None, None, settings) == settings
    if file != FIRST_RUN:
        composed, read = compose(file, None, {}), with_absolute_paths(read_recipe(file))
        if read["corpus.path"].endswith("@new"):  # a population of its own
            assert composed.pop("corpus.path").startswith(read.pop("corpus.path").removesuffix("new"))
        assert composed == read


def test_the_former_default_is_a_recipe_with_the_same_settings():
    embedded = check(compose(FIRST_RUN.with_name("embedded.toml"), None, {}), nodes=8)
    assert embedded.to_flat() == default_config()


def test_a_resumed_run_keeps_its_population_whatever_recipe_is_given(tmp_path):
    folder = tmp_path / "runs" / "20260101-000000-000001"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('[corpus]\nkind = "synthetic"\npath = "100000x5@3f9a"\n')
    for name in ("checkpoints", "ledger.jsonl"):
        (folder / name).touch()
    assert compose(None, str(folder), {})["corpus.path"] == "100000x5@3f9a"
    new = {"corpus.kind": "synthetic", "corpus.path": "100000x5@new"}
    assert compose(None, str(folder), new)["corpus.path"] == "100000x5@3f9a"
    other = compose(None, str(folder), {**new, "corpus.path": "9x5@new"})["corpus.path"]
    assert other.startswith("9x5@") and other != "9x5@new"  # another run, which `check` refuses


def test_only_synthetic_speakers_are_drawn():
    files = {"corpus.kind": "manifest", "corpus.path": "/data/speech@new"}
    assert compose(None, None, files) == files


def test_more_nodes_than_speakers_are_refused_before_anything_starts():
    done = CliRunner().invoke(
        app, ["run", "--nodes", "97", "--recipe", str(FIRST_RUN.with_name("embedded.toml"))]
    )
    assert done.exit_code == 2
    assert "--nodes 97: corpus embedded has 96 speakers in split 'train'" in done.stderr
    assert "fewer than the 97 nodes of the federation: use at most 96 nodes" in done.stderr


def test_people_in_two_splits_are_refused_before_anything_starts(tmp_path):
    manifest = make_corpus(tmp_path, {"train": 2, "test": 2})
    manifest.write_text(manifest.read_text().replace('"test-00"', '"train-00"'))
    corpus = {"corpus.kind": "manifest", "corpus.path": str(manifest)}
    with pytest.raises(CorpusError, match="the first 'train-00' in 'test' and 'train'"):
        check(corpus)
    check({**corpus, "corpus.shared-speakers": True, "training.cohort": 1, "privacy.population-name": "two"})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"training.cohort": 1000}, "training.cohort = 1000: the nodes hold only 96 speakers"),
        ({"privacy.population": 5}, "privacy.population = 5: the nodes hold 96 speakers"),
        ({"privacy.cohort-cap": 3}, "privacy.cohort-cap = 3: it must lie between training.cohort = 48"),
        ({"privacy.bands": 50}, "privacy.bands = 50: .* use at most 2 bands"),
        ({"privacy.delta": 0.1}, "privacy.delta = 0.1: .* below 1 / 96"),
        ({"training.min-nodes": 100}, "training.min-nodes = 100: only 8 nodes are simulated"),
        ({"model.seed": "/nowhere.safetensors"}, "model.seed = .*: there is no file /nowhere.safetensors"),
        ({"run.folder": "/dev/null/runs"}, "run.folder = .*: /dev/null/runs cannot be written"),
    ],
)
def test_what_this_many_speakers_cannot_carry_is_refused_before_anything_starts(settings, said):
    with pytest.raises(ConfigError, match=said):
        check(settings, nodes=8)


def test_hosts_that_cannot_hold_the_nodes_are_refused_before_anything_starts():
    with pytest.raises(ConfigError, match="--hosts 9: there are only 8 nodes to hold; give at most that"):
        check({}, nodes=8, hosts=9)
    with pytest.raises(ConfigError, match=r"only 2 SuperNodes are simulated.*lower it, or give --hosts"):
        check({"training.min-nodes": 3}, nodes=8, hosts=2)


def test_the_nodes_of_hosts_are_not_set_beside_the_options():
    done = CliRunner().invoke(app, ["run", "--hosts", "2", "--set", "training.hosted-nodes=100"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "training.hosted-nodes=100: give --nodes and --hosts in its place" in done.stderr


def test_the_nodes_of_hosts_are_not_those_of_a_recipe(tmp_path):
    recipe = tmp_path / "hosts.toml"
    recipe.write_text("[training]\nhosted-nodes = 100\n")
    done = CliRunner().invoke(app, ["run", "--recipe", str(recipe), "--hosts", "2", "--nodes", "8"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "training.hosted-nodes = 100: give --nodes and --hosts in its place" in " ".join(
        done.stderr.split()
    )


def test_a_check_does_not_wait_for_torch():
    code = "import sys\nfrom cli.run.settings import check\ncheck({})\nsys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- murmur run --dry-run -----------------------------------------------------------------------------


def test_a_dry_run_says_what_the_run_will_take_and_starts_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("cli.run.command.simulation", None)  # would be called to start anything
    monkeypatch.setenv("MURMUR_HOME", str(tmp_path))
    corpus = make_corpus(tmp_path / "corpus", {"train": 5, "test": 2}, utterances=1)
    before = sorted(tmp_path.rglob("*"))
    settings = (
        f'corpus.kind="manifest" corpus.path="{corpus}" training.cohort=5.0 training.rounds=4 '
        'privacy.noise-multiplier=1.0 privacy.delta=1e-3 privacy.population-name="ward" '
        'training.evaluate-every=3 training.evaluate-share=1.0 model.seed="random"'
    )
    done = CliRunner().invoke(app, ["run", "--dry-run", "--nodes", "5", "--set", settings])
    assert done.exit_code == 0, done.output
    first, seconds, _, sizes, memory, epsilon, last = done.output.splitlines()
    assert first == "5 speakers on 5 nodes; 4 rounds of 5 expected speakers, on 5 nodes, by 5 messages"
    assert seconds.startswith("seconds: about ") and "3 evaluations of" in seconds
    assert sizes.startswith("bytes: 29.8 MB of models to the nodes, ")  # 20 x 4 x 372,222
    most = default_config()["local.memory-megabytes"]
    assert memory.endswith(f"a speaker may take up to {most:,} MB more (local.memory-megabytes)")
    plan = make_plan(check(compose(None, None, read_settings([settings])), 5), 5)
    assert epsilon == (
        f"epsilon: {epsilon_text(plan.epsilon().value)} by {plan.epsilon().accountant} at delta 0.001, "
        "for this run alone on its speakers"
    )
    assert last == "nothing was started, drawn or spent"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_refuses_what_a_run_would_refuse():
    done = CliRunner().invoke(app, ["run", "--dry-run", "--set", "privacy.delta=2.0"])
    assert (done.exit_code, "privacy.delta = 2.0" in done.stderr) == (2, True)


def test_a_dry_run_names_the_budget_and_a_worker_that_finds_no_room():
    done = CliRunner().invoke(app, ["run", "--dry-run", "--cpus-per-node", "100000"])
    assert (done.exit_code, "--cpus-per-node 100000: this machine has " in done.stderr) == (2, True)
    plan = PrivacyPlan(
        population=100, cohort=50.0, rounds=10, noise_multiplier=1.0, delta=1e-3, epsilon_budget=2.0
    )
    lines = forecast_of(plan).lines()
    assert lines[-2].endswith("; it stops before that and earlier runs on them pass the budget of 2")


@pytest.mark.parametrize(
    ("asked", "there", "said"),
    [
        ("0.5", 0, "--gpus-per-node 0.5: this machine has 0 GPUs that torch can use; leave the option out"),
        ("2", 1, "--gpus-per-node 2: this machine has 1 GPUs that torch can use; give at most that"),
        ("inf", 8, "--gpus-per-node inf: "),
        ("nan", 8, "--gpus-per-node nan: "),
        ("1.5", 8, "--gpus-per-node 1.5: give a share of one GPU, or a whole number of them"),
    ],
)
def test_gpus_that_this_machine_lacks_are_refused_before_anything_starts(asked, there, said, monkeypatch):
    monkeypatch.setattr("cli.run.command.simulation", None)  # would be called to start anything
    monkeypatch.setattr("torch.cuda.device_count", lambda: there)
    done = CliRunner().invoke(app, ["run", "--gpus-per-node", asked])
    assert (done.exit_code, said in done.stderr) == (2, True), done.stderr


def test_gpus_of_a_cluster_are_asked_of_the_cluster(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    address = f"127.0.0.1:{free_port()}"
    done = CliRunner().invoke(app, ["run", "--ray-address", address, "--gpus-per-node", "1"])
    assert (done.exit_code, "no Ray head answers there" in done.stderr) == (2, True), done.stderr


def test_the_epsilon_of_a_forecast_is_what_the_ledger_of_the_run_has(tmp_path):
    done = RunFacts.of(make_run(tmp_path))
    made = forecast(done.config, nodes=5, workers=1)
    assert made.plan == done.plan
    assert made.plan.epsilon_of(made.plan.releases_in(made.plan.rounds)) == done.spent


NO_COSTS = ValueCosts(clip=0.0, pack=0.0, add=0.0, noise=0.0, step=0.0)


def forecast_of(plan):
    """A forecast with plain numbers."""
    flat = {**default_config(), "training.rounds": plan.rounds, "training.cohort": plan.cohort}
    more = {"training.evaluate-every": 4, "training.evaluate-share": 0.5}
    return Forecast(
        config=RunConfig.from_flat({**flat, **more}),
        plan=plan,
        nodes=100,
        messages=100 * (1 - 0.5),
        workers=4,
        measured=Measured(update=0.2, utterance=0.01, value=NO_COSTS),
        utterances=300,
        values=250,
        model_bytes=1000,
        sum_bytes=400,
    )


def test_the_seconds_of_a_forecast_are_those_of_start_rounds_and_evaluations():
    plan = PrivacyPlan(population=100, cohort=50.0, rounds=10, noise_multiplier=1.0, delta=1e-3)
    made = forecast_of(plan)
    assert made.contacted == pytest.approx(50)
    of_nodes = (50 * 0.2 + 50 * NODE_SECONDS) / BUSY
    assert made.round.seconds == pytest.approx((of_nodes + 50 * SERVER_SECONDS) / 4 + ROUND_SECONDS)
    assert made.evaluations == 1 + 3 * 0.5 + 1  # the seed, looks after rounds 4, 8 and 10, the end
    assert made.seconds == pytest.approx(8 + 10 * made.round.seconds + 3.5 * 3.0)


@pytest.mark.parametrize(
    ("nodes", "hosts", "sent"),
    [(100, 0, 50), (100, 10, 10), (100, 1, 2), (10, 10, 10), (2, 1, 2), (2, 2, 2), (1, 1, 1)],
)
def test_hosts_get_a_message_each_or_some_if_many_of_their_speakers_are_drawn(nodes, hosts, sent):
    plan = PrivacyPlan(population=100, cohort=50.0, rounds=10, noise_multiplier=1.0, delta=1e-3)
    assert messages(plan, nodes, hosts) == pytest.approx(sent, rel=0.01)
