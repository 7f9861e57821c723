"""What Murmuration ships beside its code: the embedded corpus and the seed model.

A package of its own, with a name of its own, so that it is found in the installation from any
working directory: the app's code may travel in Flower's bundle, the data never do.
"""

from pathlib import Path

_ROOT = Path(__file__).resolve().parent


def path(name: str) -> Path:
    """The absolute path of a shipped file or folder, for example `path("corpus")`.

    Raises `FileNotFoundError` naming what is missing and what to do.
    """
    found = _ROOT / name
    if not found.exists():
        raise FileNotFoundError(
            f"{name!r} is not among Murmuration's shipped data in {_ROOT}; reinstall the package."
        )
    return found
