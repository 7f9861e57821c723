"""The part of `murmur plan` about correlated noise: what bands cost, what they buy, and whether to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from privacy.noise.banded_matrix import BandChoice

WORTH_IT = 0.95  # of plain noise's error over the run: less gain is not worth the memory


def comparison(answer: dict[str, Any], bands: Iterable[int]) -> dict[str, Any]:
    """Numbers of bands side by side at the epsilon of an answer of `murmur plan`.

    Raises:
        ValueError: if that epsilon is infinite: there is nothing to hold constant.
    """
    from privacy.noise.banded_matrix import compare_bands

    if answer["claim"] is None:
        raise ValueError("bands are compared at one epsilon, and this run's is infinite: add noise")
    choices = compare_bands(
        target_epsilon=answer["claim"],
        delta=answer["delta"],
        sampling_rate=answer["sampling_rate"],
        rounds=answer["rounds"],
        bands=sorted(set(bands)),
    )
    rows = [_row(choice, choices[0]) for choice in choices]
    best = min(rows, key=lambda row: row["prefix_rmse_ratio"])
    worth_it = best["prefix_rmse_ratio"] <= WORTH_IT
    return {
        "epsilon": answer["claim"],
        "rows": rows,
        "recommended_bands": best["bands"] if worth_it else 1,
        "verdict": _verdict(best if worth_it else None),
    }


def _row(choice: BandChoice, plain: BandChoice) -> dict[str, Any]:
    return {
        "bands": choice.bands,
        "noise_multiplier": choice.noise_multiplier,
        "prefix_rmse_ratio": choice.prefix_rmse / plain.prefix_rmse,
        "step_std": choice.step_std,
        "step_std_ratio": choice.step_std / plain.step_std,
        "extra_model_sized_buffers": choice.bands - 1,
    }


def _verdict(best: dict[str, Any] | None) -> str:
    if best is None:
        return (
            "does not help: at this sampling rate the lost amplification outweighs what cancels; "
            "keep privacy.bands = 1"
        )
    return (
        f"helps the sum of the rounds: with {best['bands']} bands its error falls to "
        f"{best['prefix_rmse_ratio']:.3f} of plain noise. But one round's noise is "
        f"{best['step_std_ratio']:.2f} times as strong, which normalising optimisers (Adam, LAMB) feel, and "
        f"{best['extra_model_sized_buffers']} more buffers of the model's size are held: try it before you "
        "trust it"
    )


def lines(compared: dict[str, Any]) -> list[str]:
    """The comparison as a table."""
    from privacy.display import epsilon_text

    titles = ("bands", "z", "prefix RMSE", "step std", "buffers")
    rows = [
        (
            str(row["bands"]),
            f"{row['noise_multiplier']:.4g}",
            f"{row['prefix_rmse_ratio']:.3f}",
            f"{row['step_std']:.4g}",
            f"+{row['extra_model_sized_buffers']}",
        )
        for row in compared["rows"]
    ]
    table = ["  ".join(cell.rjust(11) for cell in row) for row in (titles, *rows)]
    return [
        f"correlated noise at epsilon {epsilon_text(compared['epsilon'], 4)} (prefix RMSE: error of the sum "
        "of the rounds so far, 1 = plain noise; step std: one round's noise in units of C)",
        *table,
        compared["verdict"],
    ]
