"""The board: sorted by WER at the same true epsilon, corpus by corpus, with its Pareto front."""

import builtins
import math

from typer.testing import CliRunner

from cli.main import app
from cli.paper.results.board import board, front
from cli.paper.results.record import write_result
from tests.cli.paper.results.made import made


def errors(count):
    return ((count, 20), (count, 20))


RESULTS = [
    made("good", 1, epsilon=8.0, counts=errors(2)),
    made("good", 2, epsilon=8.0, counts=errors(4)),
    made("bad", epsilon=8.0, counts=errors(9)),
    made("noisy", epsilon=1.0, counts=errors(6)),
    made("worse", epsilon=20.0, counts=errors(5)),
    made("open", epsilon=math.inf, counts=errors(1)),
    made("tuned", epsilon=8.0, counts=errors(0), purpose="tuning"),
    made("elsewhere", epsilon=1.0, counts=errors(0), corpus="digits"),
]


def test_lines_are_sorted_by_epsilon_then_wer_in_their_corpus():
    found = board(RESULTS)
    assert list(found) == ["digits, split test", "embedded, split test"]
    lines = found["embedded, split test"]
    assert [line.group for line in lines] == ["noisy", "good", "bad", "worse", "open"]
    assert [len(line.results) for line in lines] == [1, 2, 1, 1, 1]
    assert [line.group for line in front(lines)] == ["noisy", "good", "open"]


def murmur(*arguments):
    return CliRunner().invoke(app, ["paper", "board", *map(str, arguments)])


def written(folder):
    for result in RESULTS:
        write_result(folder / f"{result.name}.json", result)
    return folder


def test_the_command_prints_and_draws_it(tmp_path):
    done = murmur("--folder", written(tmp_path / "results"), "--plot", tmp_path / "board.png")
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.output.splitlines() if line.endswith(("good", "open"))]
    assert lines[0][:2] == ["8", "15.0*"] and lines[1][:2] == ["no", "privacy"]
    assert (tmp_path / "board.png").read_bytes().startswith(b"\x89PNG")


def test_an_extrapolated_epsilon_whose_delta_promises_nothing_is_not_shown(tmp_path):
    write_result(tmp_path / "large.json", made("large"))
    privacy = {**made().privacy.model_dump(), "delta": 1e-7}
    write_result(tmp_path / "small.json", made("small", privacy=privacy))
    lines = {line.split()[-1]: line for line in murmur("--folder", tmp_path).output.splitlines() if line}
    assert "none at 1,000,000" in lines["large"]  # delta is 1e-3
    assert "1.5 at 1,000,000" in lines["small"]


def test_a_broken_file_and_a_missing_folder_end_it_with_the_reason(tmp_path):
    assert "there is none" in murmur("--folder", tmp_path / "nowhere").output
    (written(tmp_path / "results") / "broken.json").write_text("{}")
    done = murmur("--folder", tmp_path / "results")
    assert done.exit_code == 2 and "broken.json is no result" in done.output


def test_without_matplotlib_the_remedy_is_named(tmp_path, monkeypatch):
    there = builtins.__import__

    def without(name, *rest, **named):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return there(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    done = murmur("--folder", written(tmp_path / "results"), "--plot", tmp_path / "board.png")
    assert done.exit_code == 2 and "murmuration[plots]" in done.output
