"""The data that Murmuration ships: the embedded corpus and the seed model.

It is a package with a name of its own, so the installation is found from any working directory. The code of
the app may travel in Flower's bundle; the data never do.
"""

from pathlib import Path

_ROOT = Path(__file__).resolve().parent


def path(name: str) -> Path:
    """Return the absolute path of a shipped file or folder.

    Raises:
        FileNotFoundError: If it is missing, with the remedy.

    Example:
        >>> path("corpus").name
        'corpus'
    """
    found = _ROOT / name
    if not found.exists():
        raise FileNotFoundError(
            f"{name!r} is not among Murmuration's shipped data in {_ROOT}; reinstall the package."
        )
    return found
