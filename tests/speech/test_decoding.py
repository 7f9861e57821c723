import torch
from hypothesis import given
from hypothesis import strategies as st

from speech.decoding import greedy
from speech.text import ENGLISH, FRENCH, GERMAN, Alphabet


def certain(paths: list[str], alphabet: Alphabet = ENGLISH) -> tuple[torch.Tensor, torch.Tensor, Alphabet]:
    """Log-probabilities of paths in which '_' is the blank; what lies beyond an end is 'z'."""
    longest = max(len(path) for path in paths)
    index = (alphabet.characters + "_").index
    ids = [[index(character) for character in path.ljust(longest, "z")] for path in paths]
    one_hot = torch.nn.functional.one_hot(torch.tensor(ids), alphabet.num_outputs).float()
    return (one_hot * 9).log_softmax(-1), torch.tensor([len(path) for path in paths]), alphabet


def test_runs_collapse_blanks_vanish_and_padding_is_not_read() -> None:
    paths = ["aa_ab__", "__", "hel_lo", "b", " _a  b_ "]
    assert greedy(*certain(paths)) == ["aab", "", "hello", "b", "a b"]


def test_a_language_is_decoded_in_its_own_characters() -> None:
    assert greedy(*certain(["ssü_ß_"], GERMAN)) == ["süß"]
    assert greedy(*certain(["_çœ__ur"], FRENCH)) == ["çœur"]


@given(st.lists(st.text(alphabet="ab c_'-", min_size=1, max_size=12), min_size=1, max_size=4))
def test_greedy_is_the_plain_definition(paths: list[str]) -> None:
    def plain(path: str) -> str:
        kept = [c for i, c in enumerate(path) if i == 0 or c != path[i - 1]]
        return " ".join("".join(kept).replace("_", "").split())

    assert greedy(*certain(paths)) == [plain(path) for path in paths]
