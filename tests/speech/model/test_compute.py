import logging

import pytest
import torch

from speech.model import compute
from speech.model.compute import Compute
from speech.model.ctc_transformer import build_model


def test_a_cpu_computes_in_float32_and_logs_that_once(caplog: pytest.LogCaptureFixture) -> None:
    compute._warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        chosen = [Compute.choose(precision="bfloat16", compile=True, device="cpu") for _ in range(3)]
    assert chosen[0] == Compute(device=torch.device("cpu"), precision="float32", compile=False)
    assert [record.getMessage() for record in caplog.records] == [
        "precision='bfloat16' and compile=True need a GPU, and there is none: "
        "this process computes in float32, not compiled"
    ]


def test_by_default_it_is_the_gpu_if_there_is_one() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert Compute.choose().device.type == expected


def test_float32_is_no_autocast_and_bfloat16_is_one() -> None:
    with Compute.choose(device="cpu").autocast():
        assert not torch.is_autocast_enabled("cpu")
    with Compute(device=torch.device("cpu"), precision="bfloat16", compile=False).autocast():
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16 and torch.is_autocast_enabled("cpu")


def test_compiled_blocks_say_what_plain_ones_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the compiler's front end alone, which is what can break on our code; no machine code."""
    compiled = []
    whole = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module,
        "compile",
        lambda self, **how: compiled.append(how) or whole(self, backend="eager", fullgraph=True, **how),
    )
    model = build_model("tiny", seed=0)
    Compute(device=torch.device("cpu"), precision="float32", compile=True).place(model)
    assert compiled == [{"dynamic": True}] * 3
    for lengths in ([40, 40], [40, 31], [57, 31]):
        features = torch.randn(2, lengths[0], 40)
        features[1, lengths[1] :] = 0
        plain = build_model("tiny", seed=0)(features, torch.tensor(lengths))[0]
        torch.testing.assert_close(model(features, torch.tensor(lengths))[0], plain)
    assert list(model.state_dict()) == list(build_model("tiny").state_dict())


def test_a_wrong_precision_and_an_absent_gpu_are_refused() -> None:
    with pytest.raises(ValueError, match="precision='float16' must be 'float32' or 'bfloat16'"):
        Compute.choose(precision="float16")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"device='cuda': torch finds no GPU here; use 'cpu'"):
            Compute.choose(device="cuda")
