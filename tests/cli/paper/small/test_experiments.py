"""The file of experiments: what it means, and what it is refused for."""

import pytest

from cli.composing import default_config
from cli.paper.results.plotting import pyplot
from cli.paper.results.statistics import Estimate, Table
from cli.paper.small.claims import FAILS, HOLDS, UNDECIDED, Finding, findings
from cli.paper.small.experiments import BASE, CENTRAL, STUDIES, read_study
from cli.paper.small.figures import Drawn, _against_epsilon, _differences
from cli.paper.small.jobs import Jobs
from cli.paper.small.making import _config
from cli.paper.small.speech import Source
from cli.paper.small.starts import start_weights
from recipes import ConfigError, RunConfig
from speech.pretraining import PretrainConfig
from tests.cli.paper.results.made import made
from tests.cli.paper.small.toy import STUDY, study_file


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_every_cell_of_a_study_is_a_run_with_valid_settings(file, full):
    study, default = read_study(file, full=full), default_config()
    for cell in study.cells.values():
        for settled in [cell.chosen(choice) for choice in cell.choices] or [cell]:
            if cell.trainer == CENTRAL:
                PretrainConfig.model_validate({"epochs": 0, **settled.settings})
            else:
                start = {"model.seed": BASE} if cell.start == BASE else {}
                RunConfig.from_flat({**default, **start, **settled.run_settings})
    used = {cell.name for one in study.experiments.values() for cell in study.cells_of(one)}
    assert used == set(study.cells), "a cell that no experiment uses"


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_every_claim_of_a_study_compares_something(file, full):
    study = read_study(file, full=full)
    counts = [[1, 2]]
    tables = {name: Table(seeds=(1,), errors=_array(counts), words=_array([9, 9])) for name in study.cells}
    for experiment in study.experiments.values():
        cells = {cell.name: cell for cell in study.cells_of(experiment)}
        for claim in experiment.claims:
            assert findings(claim, cells, tables), (experiment.name, claim.text)


def _array(values):
    import numpy as np

    return np.array(values)


def test_a_sweep_is_a_cell_for_each_combination_with_the_full_size_over_the_short(tmp_path):
    study = read_study(study_file(tmp_path), full=True)
    assert [name for name in study.cells if name.startswith("noise")] == [
        "noise/global/0.5",
        "noise/global/1",
        "noise/dim/0.5",
        "noise/dim/1",
    ]
    cell = study.cells["noise/dim/1"]
    assert (cell.settings["training.rounds"], cell.settings["privacy.clip-rule"]) == (2, "dim")
    assert cell.choices == [{"server.learning-rate": 0.01}, {"server.learning-rate": 0.02}]
    assert "training.rounds" not in study.cells["central"].settings


def test_what_is_on_request_is_made_when_it_is_named_and_at_the_full_size(tmp_path):
    asked = STUDY.replace('name = "start"\ntitle', 'name = "start"\non-request = true\ntitle')
    short, full = (read_study(study_file(tmp_path, asked), full=size) for size in (False, True))
    assert [one.name for one in short.chosen([])] == ["noise"]
    assert [one.name for one in short.chosen(["start"])] == ["start"]
    assert [one.name for one in full.chosen([])] == ["noise", "start"]


def test_a_pretrained_model_starts_from_its_own_weights(tmp_path):
    study = read_study(next(one for one in STUDIES if one.stem == "small-whisper"))
    jobs = Jobs(study=study, source=Source(name="speech"))
    (job, *_) = jobs.results([study.cells["quiet"]], tmp_path)
    assert start_weights(job.cell, 1, tmp_path) is None
    found = _config(job, tmp_path / "manifest.jsonl", tmp_path, tmp_path / "runs").model
    assert (found.name, found.seed) == ("openai/whisper-tiny.en", "base")


def test_a_pattern_names_the_cells_of_several_sweeps():
    study = read_study()
    beyond = {cell.name for cell in study.cells_of(study.experiments["beyond"])}
    assert {"clip/global/clip/0.01", "clip/power/clip/0.1", "beyond/tail/0.03"} <= beyond
    assert "clip/global/normalise/0.01" not in beyond


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('cells = ["noise"]', 'cells = ["nois"]', "no cell 'nois'"),
        ('of = "central"', 'of = "centre"', "no cell 'centre'"),
        ("training.cohort = 2.0", "training.chort = 2.0", "no setting 'training.chort'"),
        ("margin = 0.1", "", "need a margin"),
        ('trainer = "central"', 'trainer = "centre"', "trainer"),
        ("dev-share = 0.34", "dev-share = 2.0", "dev-share"),
        ("seeds = [1, 2]", "seeds = [1, 2", "no TOML"),
    ],
)
def test_a_fault_is_named(tmp_path, before, after, words):
    with pytest.raises(ConfigError, match=words):
        read_study(study_file(tmp_path, STUDY.replace(before, after, 1)))


@pytest.mark.parametrize(
    ("expect", "low", "high", "verdict"),
    [
        ("below", -2, -1, HOLDS),
        ("below", -2, 1, UNDECIDED),
        ("below", 1, 2, FAILS),
        ("above", 1, 2, HOLDS),
        ("within", -1.9, 1.9, HOLDS),
        ("within", -1.9, 2.1, UNDECIDED),
        ("within", 2.1, 3.0, FAILS),
        ("ratio-below", 0.9, 2.9, HOLDS),
        ("ratio-below", 0.9, 3.1, UNDECIDED),
        ("ratio-below", 3.1, 3.2, FAILS),
    ],
)
def test_a_verdict_follows_from_the_interval(expect, low, high, verdict):
    estimate = Estimate(value=(low + high) / 2, low=low, high=high)
    margin = 2.0 if expect in ("within", "ratio-below") else 0.0
    found = Finding(of="a", against="b", estimate=estimate, expect=expect, margin=margin)
    assert found.verdict == verdict


def test_cells_are_drawn_by_epsilon_a_line_for_each_mechanism_and_the_front(tmp_path):
    study = read_study(full=True)
    epsilons = {0.01: 900.0, 0.03: 90.0, 0.1: 9.0}
    cells = [
        Drawn(
            cell=cell,
            wer=Estimate(value=rate, low=rate - 0.1, high=rate + 0.1),
            results=(made(epsilon=epsilons[cell.varied["privacy.noise-multiplier"]]),),
        )
        for rate, name in ((0.4, "adaptive"), (0.5, "bands"))
        for cell in study.cells_of(study.experiments["beyond"])
        if f"/{name}/" in cell.name
    ]
    figure, panel = pyplot().subplots()
    _against_epsilon(panel, cells)
    lines = {line.get_label(): line.get_xydata().tolist() for line in panel.get_lines()}
    assert lines["Pareto front"] == [[9.0, 40.0]]
    assert set(lines) == {"beyond/adaptive", "beyond/bands", "Pareto front"}
    pyplot().close(figure)


def test_the_differences_of_mechanisms_are_drawn_with_their_intervals():
    findings = [
        Finding(of="a", against="c", estimate=Estimate(value=1, low=-1, high=4), expect="", margin=0.0),
        Finding(of="b", against="c", estimate=Estimate(value=-2, low=-3, high=0), expect="", margin=0.0),
    ]
    figure, panel = pyplot().subplots()
    _differences(panel, findings)
    points, _, (bars,) = panel.containers[0]
    assert points.get_xydata().tolist() == [[1, 1], [-2, 0]]
    assert [line[:, 0].tolist() for line in bars.get_segments()] == [[-1, 4], [-3, 0]]
    assert [one.get_text() for one in panel.get_yticklabels()] == ["a less c", "b less c"]
    pyplot().close(figure)
