"""Files of JSON lines: plain values, and no torn last line."""

import math

from server.storage.json_lines import append_lines, cut_torn_line, read_lines


def test_lines_come_back_with_null_for_nan_and_text_for_infinity(tmp_path):
    path = tmp_path / "lines"
    append_lines(path, {"a": 1}, {"b": math.nan, "c": math.inf})
    append_lines(path, {"d": "x"})
    assert read_lines(path) == [{"a": 1}, {"b": None, "c": "inf"}, {"d": "x"}]


def test_a_missing_file_has_no_lines(tmp_path):
    assert read_lines(tmp_path / "nowhere") == []
    cut_torn_line(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_torn_last_line_is_removed_and_a_complete_one_stays(tmp_path):
    path = tmp_path / "lines"
    append_lines(path, {"a": 1})
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"b": ')
    for _ in range(2):
        cut_torn_line(path)
        assert path.read_bytes() == whole
