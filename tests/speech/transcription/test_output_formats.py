import json
import re
from pathlib import Path

import pytest

from speech.decoding import Word
from speech.transcription.output_formats import Transcript, as_ctm, as_json, as_srt, as_text


def word(text: str, start: float, end: float, confidence: float = 0.5) -> Word:
    return Word(text=text, start_seconds=start, end_seconds=end, confidence=confidence)


SAID = Transcript(
    path=Path("clips/my talk.wav"),
    phrases=[[word("turn", 0.1, 0.35), word("it", 0.35, 0.4996)], [word("off", 3723.9996, 3724.5, 1.0)]],
)
SILENT = Transcript(path=Path("silent.wav"), phrases=[])


def test_text_is_a_line_a_file() -> None:
    assert as_text([SAID, SILENT]) == "clips/my talk.wav: turn it off\nsilent.wav: \n"


def test_json_has_words_with_times_and_confidence() -> None:
    said, silent = json.loads(as_json([SAID, SILENT]))
    assert said["file"] == "clips/my talk.wav" and said["text"] == "turn it off"
    assert said["words"][1] == {"word": "it", "start": 0.35, "end": 0.5, "confidence": 0.5}
    assert silent == {"file": "silent.wav", "text": "", "words": []}


def test_srt_is_as_players_read_it() -> None:
    assert as_srt([SAID]) == (
        "1\n00:00:00,100 --> 00:00:00,500\nturn it\n\n2\n01:02:04,000 --> 01:02:04,500\noff\n\n"
    )
    assert as_srt([SILENT]) == ""


def test_a_long_phrase_is_several_subtitles_that_do_not_overlap() -> None:
    words = [word(f"word{n}", 0.5 * n, 0.5 * n + 0.5) for n in range(60)]
    text = as_srt([Transcript(path=Path("a.wav"), phrases=[words])])
    cues = [cue.split("\n") for cue in text.strip().split("\n\n")]
    assert [int(cue[0]) for cue in cues] == list(range(1, len(cues) + 1))
    assert [w for cue in cues for line in cue[2:] for w in line.split()] == [w.text for w in words]
    times = [cue[1].split(" --> ") for cue in cues]
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d,\d{3}", clock) for pair in times for clock in pair)
    clocks = [clock for pair in times for clock in pair]
    assert clocks == sorted(clocks)
    assert all(len(cue) <= 4 and all(len(line) <= 50 for line in cue[2:]) for cue in cues)


def test_subtitles_are_of_one_file() -> None:
    with pytest.raises(ValueError):
        as_srt([SAID, SILENT])


def test_ctm_is_as_sclite_reads_it() -> None:
    assert as_ctm([SAID, SILENT]) == (
        "my_talk 1 0.100 0.250 turn 0.5000\n"
        "my_talk 1 0.350 0.150 it 0.5000\n"
        "my_talk 1 3724.000 0.500 off 1.0000\n"
    )
