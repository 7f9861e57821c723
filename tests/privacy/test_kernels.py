"""The compiled loops are the same arithmetic as numpy's, and are compiled where nothing can be kept."""

import importlib.util
import itertools
import math
import os
from pathlib import Path

import numpy as np
import pytest

from privacy import kernels

SIZE = 100_003
GENERATOR = np.random.default_rng(5)
VALUES = GENERATOR.standard_normal(SIZE) * np.exp(GENERATOR.standard_normal(SIZE))


OFFSETS = np.array([0, 1, 7, 7, 50_000, SIZE])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sums", [np.int32, np.int64])
def test_add_rounded_is_rounding_in_float64_and_addition(dtype: type, sums: type) -> None:
    values, factors = VALUES.astype(dtype), np.array([1e-3, 1.0, 5.0, 4321.987, 0.0])
    each = np.repeat(factors, np.diff(OFFSETS))
    steps = np.rint(values.astype(np.float64) * each)
    total, squared = np.arange(SIZE, dtype=sums), np.empty(len(factors))
    kernels.add_rounded_(total, values, OFFSETS, factors, squared)
    assert squared.tolist() == [
        float((steps[begin:end] ** 2).sum()) for begin, end in itertools.pairwise(OFFSETS)
    ]
    assert np.array_equal(total, np.arange(SIZE) + steps.astype(np.int64))
    kernels.add_rounded_(total, values, OFFSETS, -factors, squared)
    assert np.array_equal(total, np.arange(SIZE))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_squared_norms_are_those_of_the_slices(dtype: type) -> None:
    values, out = VALUES.astype(dtype), np.empty(len(OFFSETS) - 1)
    kernels.squared_norms_(values, OFFSETS, out)
    slices = itertools.pairwise(OFFSETS)
    assert out == pytest.approx([kernels.squared_norm(values[begin:end]) for begin, end in slices])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
def test_squared_norm_is_taken_in_float64(dtype: type) -> None:
    values = (VALUES * 1000).astype(dtype)
    exact = math.fsum(float(value) ** 2 for value in values)
    assert kernels.squared_norm(values) == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize("integers", [np.int32, np.int64])
def test_scale_into_multiplies_in_float64(integers: type) -> None:
    sums = np.rint(VALUES * 2.0**20).astype(integers)
    out = np.empty(SIZE, dtype=np.float32)
    kernels.scale_into_(out, sums, 0.3)
    assert np.array_equal(out, (sums.astype(np.float64) * 0.3).astype(np.float32))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_squared_norm_keeps_what_is_not_finite(bad: float) -> None:
    for where in (0, 17, SIZE - 1):
        values = VALUES.astype(np.float32)
        values[where] = bad
        assert not math.isfinite(kernels.squared_norm(values))


def test_a_loop_is_compiled_where_its_code_cannot_be_kept() -> None:
    """numba refuses to cache a function without a file, as it does where no folder can be written."""
    names: dict[str, object] = {}
    exec("def double(number):\n    return 2 * number\n", names)
    double = kernels.compiled()(names["double"])  # type: ignore[type-var]
    assert double(21) == 42


def loop_of(folder: Path, text: str, *relaxed: str, beside: str = "") -> object:
    """The function `loop` of a fresh copy of this source, and of that of a module beside it."""
    folder.mkdir()
    (folder / "beside.py").write_text(beside)
    source = folder / "loops.py"
    source.write_text(text)
    os.utime(source, (len(folder.name), len(folder.name)))
    spec = importlib.util.spec_from_file_location(folder.name, source)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return kernels.compiled(*relaxed)(module.loop)


def kept_in(folder: Path) -> set[str]:
    """Names and inodes of the machine code there."""
    return {f"{path.name} {path.stat().st_ino}" for path in folder.rglob("*.nbc")}


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "NUMBA_CACHE_DIR"])
def test_every_copy_of_the_app_uses_the_same_machine_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setenv(variable, str(tmp_path / "kept"))
    numba_config = pytest.importorskip("numba").config
    monkeypatch.setattr(numba_config, "CACHE_DIR", os.environ.get("NUMBA_CACHE_DIR", ""))
    text = "def loop(number):\n    return 2 * number\n"
    assert loop_of(tmp_path / "first", text)(21) == 42
    kept = kept_in(tmp_path / "kept")
    assert len(kept) == 1
    assert loop_of(tmp_path / "another", text)(21) == 42
    assert kept_in(tmp_path / "kept") == kept
    assert loop_of(tmp_path / "changed", text.replace("2", "3"))(21) == 63
    assert len(kept_in(tmp_path / "kept")) == 2
    assert loop_of(tmp_path / "relaxed", text, "reassoc")(21) == 42
    assert len(kept_in(tmp_path / "kept")) == 3  # numba itself would take what was compiled otherwise


def test_a_constant_of_a_module_beside_it_is_compiled_in_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or an upgrade would go on with loops that write another format."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kept"))
    text = (
        "from pathlib import Path\n"
        "exec((Path(__file__).parent / 'beside.py').read_text())\n"
        "def loop(number):\n    return TIMES * number\n"
    )
    for folder, times in (("one", 2), ("other", 5)):
        assert loop_of(tmp_path / folder, text, beside=f"TIMES = {times}\n")(1) == times
    assert len({path.parent.name for path in (tmp_path / "kept").rglob("loops.py")}) == 2


def test_where_no_copy_can_be_made_the_code_is_kept_beside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setattr(pytest.importorskip("numba").config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nowhere")
    assert loop_of(tmp_path / "app", "def loop(number):\n    return 2 * number\n")(21) == 42
    assert len(kept_in(tmp_path / "app")) == 1
