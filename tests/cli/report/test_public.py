"""Nothing in a public report is from outside the allow-list, whatever lies in the run folder."""

import json
from base64 import b64encode
from dataclasses import replace

import pytest

from cli.report import page_view, public, run_facts
from cli.report.evaluations import by_run
from cli.report.page_view import Asked, page
from cli.report.run_facts import RunFacts
from cli.report.run_view import run_view
from cli.report.sounds import MOST_CHARACTERS, Room
from privacy.ledger.lineage import Ancestor
from recipes import ConfigError
from server.storage.run_folder import RunFolder
from tests.cli.report.run_folders import SECRETS, copied, evaluation_file, evaluation_parts, plant
from tests.cli.report.test_page import Elements

# Keys of the recipe that no public page has, and why. A new key must go here or to `public.SETTINGS`.
LEFT_OUT = {
    "names paths": ("corpus.path", "server.anchor-corpus", "run.folder", "run.resume"),
    "names speakers, populations or splits": (
        *("corpus.speaker-namespace", "privacy.population-name", "privacy.uncounted"),
        *("corpus.train-split", "corpus.test-split", "server.anchor-split"),
    ),
    "free text": (
        "corpus.characters",
        "server.optimiser-settings",
        "privacy.clip-groups",
        "run.release-signature",
    ),
    "secret": ("privacy.noise-seed",),
    "of the machines": (
        *("corpus.feature-cache", "run.checkpoint-every", "run.sentences-shown", "run.evaluation-device"),
        *("run.evaluation-threads", "local.processor-seconds", "local.memory-megabytes", "local.compile"),
        *(
            "training.round-deadline-seconds",
            "training.min-nodes",
            "training.wait-seconds",
            "training.hosted-nodes",
            "training.min-answers",
        ),
    ),
    "of no use without the model": ("model.digest", "model.adapter-seed", "server.anchor-seed"),
}


def written(run, *, reader="public", evaluation=None, published=False):
    facts = [run if isinstance(run, RunFacts) else RunFacts.of(run)]
    asked = Asked(audience=reader, corpus_may_be_published=published, command="murmur report")
    return page(facts, by_run([evaluation] if evaluation else [], facts), asked)


def test_planted_secrets_are_in_the_owners_page_and_in_no_public_one(run, tmp_path):
    run = copied(run, tmp_path / "runs")
    plant(run)
    evaluation = evaluation_file(run, tmp_path / "evaluation.json")
    shown = written(run, evaluation=evaluation)
    assert not [secret for secret in (*SECRETS, str(tmp_path), run.name) if secret in shown]
    owners = written(run, reader="owner", evaluation=evaluation)
    expected = ("planted-reason", "planted-ward", "planted-speaker", "planted transcript", "7,137", run.name)
    assert not [secret for secret in expected if secret not in owners]


def test_the_public_page_is_the_same_whatever_the_secret_files_say(run, tmp_path):
    plain, planted = copied(run, tmp_path / "a"), copied(run, tmp_path / "b")
    for name in ("traffic.jsonl", "summary.txt", "card.md", "model.safetensors", "seed.safetensors"):
        (planted / name).unlink()  # never opened
    for name in ("traffic.jsonl", "not_private.jsonl"):
        (planted / name).write_text("no JSON")
    found = json.loads((planted / "evaluation.json").read_text())
    (planted / "evaluation.json").write_text(
        json.dumps({**found, "split": "planted", "new field": "planted"})
    )
    lines = [json.loads(line) for line in (planted / "metrics.jsonl").read_text().splitlines()]
    (planted / "metrics.jsonl").write_text(
        "".join(json.dumps({**line, "drawn": 7, "seconds": 0.5, "note": "planted"}) + "\n" for line in lines)
    )
    assert written(planted) == written(plain)


def test_every_setting_is_decided_on(run):
    left_out = {key for keys in LEFT_OUT.values() for key in keys}
    every = set(RunFacts.of(run).config.to_flat())
    assert set(public.SETTINGS) | left_out == every and not set(public.SETTINGS) & left_out


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("model", {"seed": "/srv/planted-host/seed.safetensors"}),
        ("model", {"name": "/srv/planted-host/whisper", "seed": "base"}),
        ("model", {"trainable": "planted/path*"}),
        ("corpus", {"language": "planted", "characters": "abc"}),
    ],
)
def test_text_of_the_owners_own_in_an_allowed_setting_is_left_out(run, section, value):
    config = RunFacts.of(run).config
    changed = config.model_copy(update={section: getattr(config, section).model_copy(update=value)})
    assert "planted" not in json.dumps(public.public_settings(changed))
    assert set(public.public_settings(config)) - set(public.public_settings(changed))


def test_a_value_that_is_no_number_does_not_pass_as_one():
    line = {
        "round": 1,
        "wer": "planted",
        "cer": True,
        "loss": None,
        "epsilon_rdp_this_run": "inf",
        "drawn": 9,
    }
    assert public.public_metrics(line, held_out=True) == {
        **{"round": 1, "loss": None, "wer": None, "cer": None},
        "epsilon_rdp_this_run": float("inf"),
    }


def test_groups_of_layers_have_the_names_of_tensors_where_the_model_has_its_own_or_numbers():
    line = {
        "round": 1,
        "group_signal_to_noise": {"blocks.0 to blocks.3": 0.5, "a/b": "inf", "<b>": None},
        "group_planted_noised": {"blocks.0": 1.0},
        "group_update_norm_noised": "planted",
    }
    assert public.public_metrics(line, held_out=True) == {
        "round": 1,
        "group_signal_to_noise": {"blocks.0 to blocks.3": 0.5, "group 2": float("inf"), "group 3": None},
        "group_update_norm_noised": {},
    }
    unnamed = public.public_metrics(line, held_out=True, named=False)["group_signal_to_noise"]
    assert list(unnamed) == ["group 1", "group 2", "group 3"]


@pytest.mark.parametrize("reader", ["public", "owner"])
def test_what_the_release_says_of_groups_is_shown_to_everybody(run, tmp_path, reader):
    run = copied(run, tmp_path / "runs")
    metrics = RunFolder(run).metrics
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    released = [one["group_signal_to_noise"] for one in lines[1:]]
    assert "group_signal_to_noise" not in lines[0] and "frontend" in released[0]
    for one, line in enumerate(lines[1:]):
        line["group_update_norm_noised"] = {"frontend": 0.03125 + one, "output": 0.5}
        line["group_clipped_share_noised"] = {"frontend": 1.0625, "output": -0.25}
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    shown = written(run, reader=reader)
    for words in (
        "Signal to noise of the released mean",
        "Norm of a speaker",
        "0.03125",
        "Share of clipped tensors",
    ):
        assert words in shown, words


def test_error_rates_on_speakers_of_the_population_are_left_out(run, tmp_path):
    run = copied(run, tmp_path / "runs")
    folder = RunFolder(run)
    found = json.loads(folder.evaluation.read_text())
    folder.evaluation.write_text(json.dumps({**found, "speakers_in_training": 2}))
    shown = written(run)
    assert (
        "Error rates are left out" in shown
        and "Word error rate" not in shown
        and "WER on held-out" not in shown
    )
    assert "no epsilon covers these error rates" in written(run, reader="owner")


def test_speakers_and_transcripts_are_shown_where_the_corpus_may_be_published(run, tmp_path):
    evaluation = evaluation_file(run, tmp_path / "evaluation.json")
    shown = written(run, evaluation=evaluation, published=True)
    assert all(
        word in shown for word in ("planted-speaker", "planted transcript", "planted before", "planted-value")
    )
    assert "planted-decoding" not in shown and "planted-host" not in shown


def test_an_evaluation_that_no_epsilon_covers_is_refused(run, tmp_path):
    evaluation = evaluation_file(
        run, tmp_path / "evaluation.json", warnings=["3 speakers are in the population"]
    )
    with pytest.raises(ConfigError, match=r"no epsilon covers its figures.*--for owner"):
        written(run, evaluation=evaluation)
    assert "planted-speaker" in written(run, reader="owner", evaluation=evaluation)


def test_a_comparison_with_a_model_that_no_epsilon_covers_is_refused(run, tmp_path):
    """Error rates and transcripts of a model without privacy, which was trained on the same speakers."""
    other = {"wer_difference": 0.123456, "wer": {"rate": 0.5}}

    def against(**made_by):
        found = {**other, "model": "/planted/seed.safetensors", **made_by}
        return evaluation_file(run, tmp_path / "evaluation.json", against=found)

    assert "+12.3 points" in written(run, evaluation=against(run=RunFacts.of(run).run))
    for made_by in ({}, {"run": "0" * 32}):
        evaluation = against(**made_by)
        with pytest.raises(ConfigError, match=r"which is not of this run.*--for owner"):
            written(run, evaluation=evaluation)
    assert "+12.3 points" in written(run, reader="owner", evaluation=evaluation)


def test_an_evaluation_of_another_runs_model_is_refused(run, tmp_path):
    evaluation = evaluation_file(run, tmp_path / "evaluation.json", run="0" * 32)
    with pytest.raises(ConfigError, match="which none of these runs made"):
        written(run, evaluation=evaluation)
    run = copied(run, tmp_path / "runs")
    found = json.loads((run / "evaluation.json").read_text())
    (run / "evaluation.json").write_text(json.dumps({**found, "run": "0" * 32}))
    with pytest.raises(ConfigError, match=r"evaluation.json is of another run"):
        written(run)


def test_no_name_of_another_ledger_or_of_an_older_runs_folder_is_shown(run):
    facts = RunFacts.of(run)
    seed = Ancestor(run="planted-older", people="planted-ward", private=False)
    older = replace(
        facts, run="planted-folder", uncounted=("in the ledger 'planted-clinic'",), lineage=(seed,)
    )
    view = run_view(older, {}, "run", for_public=True)
    assert "planted" not in repr((view.warnings, view.facts, public.run_name(older.run)))
    assert "in 1 other ledger: no epsilon" in view.warnings[-2] and "without privacy" in view.warnings[-1]
    assert "planted-clinic" in repr(run_view(older, {}, "run", for_public=False).warnings)


def test_a_run_that_was_killed_while_it_wrote_a_line_has_a_page(run, tmp_path):
    run = copied(run, tmp_path / "runs")
    (run / "evaluation.json").unlink()
    text = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(text[:-20])
    assert len(RunFacts.of(run).metrics) == len(text.splitlines()) - 1
    (run / "metrics.jsonl").write_text(text[:-1])
    assert len(RunFacts.of(run).metrics) == len(text.splitlines())


def test_names_that_other_packages_bring_are_left_out(run):
    """They are the words of whoever wrote the package: a hospital's kind of corpus has its name."""
    config = RunFacts.of(run).config
    flat = public.public_settings(config)
    for key in public.OF_REGISTRIES:
        section, name = key.split(".")
        field, found = name.replace("-", "_"), getattr(config, section)
        changed = config.model_copy(update={section: found.model_copy(update={field: "planted"})})
        assert "planted" not in public.public_settings(changed).values()
        assert not getattr(found, field) or key in flat
    changed = config.model_copy(update={"corpus": config.corpus.model_copy(update={"kind": "planted"})})
    view = run_view(replace(RunFacts.of(run), config=changed), {}, "run", for_public=True)
    assert ("speech", "a kind of the owner's") in view.facts


def test_a_round_that_ends_while_a_run_is_read_is_in_the_epsilon(run, tmp_path, monkeypatch):
    """The ledger is read after the metrics, so that no number is shown that its epsilon lacks."""
    order = []
    for place, name in ((RunFolder, "read_metrics"), (run_facts, "read_ledger")):
        inner = getattr(place, name)
        monkeypatch.setattr(
            place, name, lambda path, inner=inner, name=name: order.append(name) or inner(path)
        )
    RunFacts.of(run)
    assert order == ["read_metrics", "read_metrics", "read_ledger"]


@pytest.mark.parametrize("change", [{"noise_multiplier": 0.0}, {"noise_source": "seeded-not-private"}])
def test_a_run_without_privacy_has_no_public_page(run, change):
    facts = RunFacts.of(run)
    run = replace(facts, plan=replace(facts.plan, **change))
    with pytest.raises(ConfigError, match=r"--for public: .* added no secret noise.*--for owner"):
        written(run)
    assert "This run protects nobody" in written(run, reader="owner")


def test_recordings_are_published_with_the_corpus_alone(run, tmp_path):
    sound = b64encode(b"OggS" + bytes(range(99))).decode()
    (spoken,) = evaluation_parts()["worst_utterances"]
    evaluation = evaluation_file(
        run, tmp_path / "evaluation.json", worst_utterances=[{**spoken, "sound": sound}]
    )
    shown = written(run, evaluation=evaluation)
    assert sound not in shown and "<audio" not in shown and "media-src" not in shown
    for text in (
        written(run, evaluation=evaluation, published=True),
        written(run, reader="owner", evaluation=evaluation),
    ):
        (player,) = [one for tag, one in Elements(text).tags if tag == "audio"]
        assert player["src"] == f"data:audio/ogg;base64,{sound}" and "media-src data:;" in text
        assert player["aria-label"] == "Recording of utterance planted-utterance, by speaker planted-speaker"


def test_recordings_beyond_a_pages_room_are_counted(run, tmp_path, monkeypatch):
    sound = b64encode(b"OggS" + bytes(101)).decode()
    (words,) = evaluation_parts()["worst_utterances"]
    spoken = [{**words, "id": f"u{n}", "sound": sound} for n in range(5)]
    evaluation = evaluation_file(run, tmp_path / "evaluation.json", worst_utterances=spoken)
    monkeypatch.setattr(page_view, "Room", lambda: Room(2 * len(sound) + 1))
    text = written(run, reader="owner", evaluation=evaluation)
    assert text.count("<audio") == 2 and "The recordings of 3 utterances are left out" in text
    assert MOST_CHARACTERS < 4_000_000


@pytest.mark.parametrize("sound", ['T2dnUw==" onerror="alert(1)', "UklGRg==", 7])
def test_what_is_no_recording_is_refused(run, tmp_path, sound):
    words = {"reference": "send", "hypothesis": "sent"}
    spoken = [{"id": "u", "speaker": "a", "errors": 1, **words, "sound": sound}]
    evaluation = evaluation_file(run, tmp_path / "evaluation.json", worst_utterances=spoken)
    with pytest.raises(ConfigError, match=r"the sound of utterance 'u' is no Ogg.*--json --sound"):
        written(run, reader="owner", evaluation=evaluation)
