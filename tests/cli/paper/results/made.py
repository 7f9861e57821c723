"""Results that no run made, for tests."""

from cli.paper.results.record import Result

COUNTS = ((1, 10), (3, 10), (2, 20))


def made(group="toy", seed=1, *, epsilon=8.0, counts=COUNTS, purpose="result", corpus="embedded", **changes):
    """A result with these errors and words by speaker."""
    errors, words = (sum(column) for column in zip(*counts, strict=True))
    fields = {
        "version": 1,
        "name": f"{group}/seed-{seed}",
        "group": group,
        "seed": seed,
        "purpose": purpose,
        "model": {"name": "tiny", "start": "embedded", "parameters": 10, "trained": 10},
        "data": {"name": corpus, "speakers": "by speaker", "digest": "0" * 64, "split": "test"},
        "population": 80,
        "cohort": 16.0,
        "rounds": 12,
        "privacy": {
            "epsilon": epsilon,
            "extrapolated": 1.5,
            "extrapolated_population": 1_000_000,
            "extrapolated_cohort": 1024.0,
            "delta": 1e-3,
            "accountant": "RDP",
            "adjacency": "add or remove one speaker",
        },
        "wer": {
            "rate": errors / words,
            "low": 0.0,
            "high": 1.0,
            "level": 0.95,
            "errors": errors,
            "words": words,
            "by_speaker": counts,
        },
        "seconds": 1.0,
        "commit": "0123456",
        "command": "murmur paper small toy",
        "settings": {"training.rounds": 12},
        "curve": ({"round": 0, "wer": 0.5, "loss": None},),
    }
    return Result.model_validate({**fields, **changes})
