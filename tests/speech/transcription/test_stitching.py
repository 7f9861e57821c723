import torch

from speech.decoding import greedy
from speech.text import ENGLISH
from speech.transcription.stitching import Stretch, seam, stitch
from tests.speech.test_decoding import certain


def read(stretches: list[Stretch]) -> str:
    rows = [stretch.log_probs for stretch in stretches]
    joined = torch.cat(rows)
    return greedy(joined[None], torch.tensor([len(joined)]), ENGLISH)[0]


def window(path: str, first_frame: int, joined: bool = True) -> Stretch:
    return Stretch(first_frame=first_frame, log_probs=certain([path])[0][0], joined=joined)


def test_words_at_a_seam_are_neither_doubled_nor_cut() -> None:
    left = "one_ _two___ _thre_zz"
    right = "____xx___ _thre_e_ four"
    windows = [window(left, 0, joined=False), window(right, 4)]
    pieces = list(stitch(windows, ENGLISH))
    assert [piece.first_frame for piece in pieces] == [0, len(pieces[0].log_probs)]
    assert read(pieces) == "one two three four"


def test_a_space_in_one_window_is_kept() -> None:
    for left, right in (
        ("ab_ ____cd", "ab______cd"),
        ("ab______cd", "ab____ _cd"),
        ("ab_____ cd", "ab_ ____cd"),
    ):
        sides = [certain([side])[0][0] for side in (left, right)]
        cut = seam(*sides, ENGLISH)
        joined = torch.cat([sides[0][:cut], sides[1][cut:]])
        assert greedy(joined[None], torch.tensor([10]), ENGLISH) == ["ab cd"]


def test_without_a_quiet_place_the_seam_is_in_the_middle() -> None:
    sides = [certain(["abcdefgh"])[0][0]] * 2
    assert seam(*sides, ENGLISH) == 4


def test_every_frame_comes_once_and_phrases_stay_apart() -> None:
    windows = [
        window("_" * 20, 0, joined=False),
        window("_" * 20, 15),
        window("_" * 9, 30),
        window("__", 70, joined=False),
    ]
    pieces = list(stitch(windows, ENGLISH))
    frames = [piece.first_frame + row for piece in pieces for row in range(len(piece.log_probs))]
    assert frames == [*range(39), 70, 71]
    assert list(stitch([], ENGLISH)) == []
