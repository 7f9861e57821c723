import json
import math

import pytest

from recipes import checkout
from server.report.metrics_lines import MetricsError, MetricsLine, read_metrics

ROUND = {
    "version": 1,
    "round": 0,
    "loss": 3.0,
    "wer": 0.5,
    "cer": 0.2,
    "epsilon_rdp_this_run": 0.0,
    "epsilon_rdp_extrapolated": 0.0,
    "privacy": "see ledger.jsonl",
}


def write(folder, *lines, end="\n"):
    text = "\n".join(json.dumps({**ROUND, **line}) for line in lines)
    (folder / "metrics.jsonl").write_text(text + end)
    return folder


def test_the_page_has_every_field_with_the_meaning_that_the_code_gives():
    page = (checkout() / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{name}` | {field.description} |" for name, field in MetricsLine.model_fields.items()]


def test_what_was_not_measured_is_nan_and_what_has_no_bound_is_infinite(tmp_path):
    (line,) = read_metrics(write(tmp_path, {"wer": None, "epsilon_rdp_this_run": "inf"}))
    assert math.isnan(line.wer) and line.epsilon_rdp_this_run == math.inf
    assert line.measured == {"loss": 3.0, "cer": 0.2, "epsilon_rdp_extrapolated": 0.0}


def test_a_resumed_run_replaces_the_lines_that_it_makes_again(tmp_path):
    lines = [{"round": 0}, {"round": 1}, {"round": 2, "wer": 0.9}, {"round": 3}]
    lines += [{"round": 1, "resumed": True, "wer": 0.4}, {"round": 2, "wer": 0.3}]
    found = read_metrics(write(tmp_path, *lines))
    assert [(one.round, one.wer) for one in found] == [(0, 0.5), (1, 0.4), (2, 0.3)]


def test_a_line_that_is_being_written_is_left_out(tmp_path):
    assert [one.round for one in read_metrics(write(tmp_path, {}, {"round": 1}, end=""))] == [0]


def test_files_of_earlier_releases_are_read(tmp_path):
    line = {name: value for name, value in ROUND.items() if name != "version"}
    (tmp_path / "metrics.jsonl").write_text(json.dumps({**line, "epsilon_rdp_people": 9.0}) + "\n")
    assert read_metrics(tmp_path)[0].epsilon_rdp_population == 9.0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"drawn": 7}, "line 2: drawn: .*found 7"),  # a secret of the server is not shown by mistake
        ({"wer": "much"}, "line 2: wer: .*found 'much'"),
        ({"wer": [1]}, "line 2: wer: "),
        ({"round": -1}, "line 2: round: "),
        ({"version": 2}, "line 2: version 2: this release reads version 1; use"),
    ],
)
def test_a_line_that_is_not_of_the_schema_is_refused_with_its_place(tmp_path, line, words):
    with pytest.raises(MetricsError, match=words):
        read_metrics(write(tmp_path, {}, line))


def test_no_metrics_and_no_json_are_one_clear_error(tmp_path):
    with pytest.raises(MetricsError, match=r"metrics.jsonl: cannot be read .* give the folder of a run"):
        read_metrics(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("{\n")
    with pytest.raises(MetricsError, match="line 1: is no JSON object"):
        read_metrics(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("7\n")
    with pytest.raises(MetricsError, match="line 1: the line: "):
        read_metrics(tmp_path)
