import json
import math

import numpy as np
import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.plot.matplotlib_files import pyplot
from cli.plot.update_norms import read_update_norms

pytest.importorskip("matplotlib", reason="figures need the extra 'plots'")


def make_run(folder, *, private=True, raw=False, wers=(0.6, 0.5, 0.4)):
    folder.mkdir()
    lines = [
        {
            "version": 1,
            "round": number,
            "loss": 3.0,
            "wer": wer,
            "cer": 0.2,
            "epsilon_rdp_this_run": number + 5.0 if private else "inf",
            "epsilon_rdp_extrapolated": 1.0,
            "privacy": "see ledger.jsonl" if private else "none",
        }
        for number, wer in enumerate(wers)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if raw:
        norms = [{"not_private": "a warning", "tensors": ["front.weight", "head.bias"]}]
        norms += [raw_line(1, 7, 1, [1.0, 4.0]), raw_line(1, 8, 3, [2.0, 8.0]), raw_line(2, 7, 2, [0.5, 0.0])]
        write_raw(folder, *norms)
    return folder


def raw_line(number, node, speakers, norms):
    return {"round": number, "node": node, "speakers": speakers, "update_norms": norms}


def write_raw(folder, *lines):
    (folder / "not_private.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def murmur(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_update_norms_are_means_over_speakers_and_a_round_made_again_counts_once(tmp_path):
    folder = make_run(tmp_path / "run", raw=True)
    found = read_update_norms(folder)
    assert found.tensors == ("front.weight", "head.bias") and [*found.rounds] == [1, 2]
    assert np.allclose(found.norms, [[1.75, 0.5], [7.0, 0.0]])
    again = [*map(json.loads, (folder / "not_private.jsonl").read_text().splitlines())]
    write_raw(folder, *again, raw_line(2, 7, 5, [0.75, 0.25]))
    assert np.allclose(read_update_norms(folder).norms[:, 1], [0.75, 0.25])


@pytest.mark.parametrize("lines", [[], [{"not_private": "x"}], [{"tensors": ["a"]}, raw_line(1, 1, 0, [])]])
def test_a_run_without_norms_has_none(tmp_path, lines):
    write_raw(tmp_path, *lines)
    assert read_update_norms(tmp_path) is None


def test_a_line_of_norms_that_lacks_a_field_is_named(tmp_path):
    folder = make_run(tmp_path / "run", raw=True)
    write_raw(folder, {"tensors": ["a"]}, {"round": 1, "update_norms": [1.0]})
    done = murmur("plot", folder, "--out", tmp_path)
    assert (done.exit_code, "not_private.jsonl:2: has no 'node'" in done.output) == (2, True), done.output


def test_plot_writes_every_figure_that_the_runs_have(tmp_path):
    private, open_run = make_run(tmp_path / "a", raw=True), make_run(tmp_path / "b", private=False)
    done = murmur("plot", private, open_run, "--out", tmp_path / "out", "--format", "svg")
    assert done.exit_code == 0, done.output
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"wer-epsilon.svg", "wer-rounds.svg", "update-norms.svg"}
    assert {line.rsplit("/", 1)[1] for line in done.stdout.splitlines()} == written
    by_epsilon = (tmp_path / "out" / "wer-epsilon.svg").read_text()
    assert "its own population" in by_epsilon and "b (no privacy)" in by_epsilon
    heat = (tmp_path / "out" / "update-norms.svg").read_text()
    assert "front.weight" in heat and "not private" in heat


def test_every_format_is_written_and_the_same_numbers_make_the_same_files(tmp_path):
    run = make_run(tmp_path / "b", private=False)
    for out in ("one", "two"):
        assert murmur("plot", run, "--out", tmp_path / out).exit_code == 0
    for suffix, opening in (("pdf", b"%PDF"), ("svg", b"<?xml"), ("png", b"\x89PNG")):
        content = (tmp_path / "one" / f"wer-rounds.{suffix}").read_bytes()
        assert content.startswith(opening)
        assert content == (tmp_path / "two" / f"wer-rounds.{suffix}").read_bytes()


def test_the_curve_has_the_true_epsilons(tmp_path):
    from cli.plot.figures import PlottedRun, wer_by_epsilon

    figure = wer_by_epsilon([PlottedRun.of(make_run(tmp_path / "a"))])
    (line,) = figure.axes[0].lines
    assert [*line.get_xdata()] == [6.0, 7.0] and np.allclose(line.get_ydata(), [50.0, 40.0])
    pyplot().close(figure)


def test_what_cannot_be_drawn_is_one_sentence(tmp_path):
    started = make_run(tmp_path / "a", wers=(0.6,))
    for arguments, words in (
        ([started], "a: no round was evaluated yet"),
        ([started, "--format", "gif"], "--format gif: there are pdf, svg, png"),
        ([tmp_path / "none"], "metrics.jsonl: cannot be read"),
    ):
        done = murmur("plot", *arguments, "--out", tmp_path / "out")
        assert done.exit_code == 2 and words in done.stderr
    assert not (tmp_path / "out").exists()


PLAN = ["plan", "--rounds", "4", "--delta", "1e-6", "--noise-multiplier", "1", "--json"]


def test_a_plan_is_drawn_and_its_answer_stays_as_it_is(tmp_path):
    sizes = ["--population", "1000", "--cohort", "50"]
    larger = ["--extrapolate-population", "9000", "--extrapolate-cohort", "90"]
    file = tmp_path / "plan.svg"
    done = murmur(*PLAN, *sizes, *larger, "--plot", file)
    assert done.exit_code == 0, done.output
    assert math.isfinite(json.loads(done.stdout)["claim"])
    picture = file.read_text()
    for words in ("population 1,000", "not this run: population 9,000", "2,500", "noise on the mean"):
        assert words in picture


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sampling-rate", "0.1", "--plot", "a.svg"], "give --population and --cohort"),
        (["--population", "1000", "--cohort", "50", "--plot", "a.gif"], "a.gif: give a name that ends with"),
    ],
)
def test_a_plan_that_cannot_be_drawn_is_refused_before_it_is_computed(arguments, words):
    done = murmur(*PLAN, *arguments)
    assert done.exit_code == 2 and words in done.stderr and not done.stdout
