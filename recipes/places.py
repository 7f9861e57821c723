"""Where things lie that do not travel in Flower's bundle: audio, the seed model, the run folder.

Flower unpacks the app's code into a folder of its own and runs it from a working directory that is
nobody's choice. So nothing is looked up beside the code or the working directory: shipped data is
found through the *installed* data package (which the bundle leaves out), and a run's paths are absolute.
`murmur` makes relative ones absolute, from the working directory of the person who types.
"""

from __future__ import annotations

import os
import tomllib
from functools import cache
from pathlib import Path

import murmuration_data

HOME_VARIABLE = "MURMUR_HOME"
# What `murmur run` runs where it is told nothing else; it is installed beside this module.
FIRST_RUN = Path(__file__).parent / "run" / "first-run.toml"
# The tables of arXiv 2310.00098 as data; `murmur paper` reads them.
PAPER = Path(__file__).parent / "paper"
# Kinds of corpora that lie in no folder of the user's.
WITHOUT_FILES = ("embedded", "synthetic")
# Those whose path is a file or a folder.
CORPORA_IN_FILES = ("commonvoice", "huggingface", "librispeech", "manifest", "speechocean762")
# Seeds that are in no file of the user's.
SEEDS_WITHOUT_FILE = ("base", "embedded", "random")


@cache
def checkout() -> Path | None:
    """The source checkout that the installed package lives in, or None for an ordinary install."""
    root = Path(murmuration_data.__file__).resolve().parent.parent
    pyproject = root / "pyproject.toml"
    if not pyproject.is_file():
        return None
    name = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("project", {}).get("name")
    return root if name == "murmuration" else None


def app_source() -> tuple[Path, Path]:
    """The pyproject.toml of the Flower app, and the folder that its rooms lie in."""
    rooms = Path(__file__).resolve().parent.parent
    installed = Path(__file__).with_name("app.toml")  # which the wheel brings (setup.py)
    root = checkout()
    return (root / "pyproject.toml" if root else installed), rooms


def home() -> Path:
    """The folder for run folders and a node's records, where the user names no other.

    It is `$MURMUR_HOME` where set, else the checkout, else `~/.murmuration`.
    """
    chosen = os.environ.get(HOME_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().resolve()
    return checkout() or Path.home() / ".murmuration"


def runs_folder(folder: str = "") -> Path:
    """Where run folders are made: the folder of a recipe, or `runs` in `home()`."""
    return resolve(folder) if folder else home() / "runs"


def existing_run(named: str | Path) -> Path:
    """Return the run folder, or the file in one, that a command line names.

    `named` is a path from the working directory, or a name in the runs folder ("latest", "runs/latest"). If
    none of these exists, the path from the working directory is returned. That may be one that this user may
    not read, such as root's after `runuser`.
    """
    places = [resolve(named), runs_folder() / named, runs_folder().parent / named]
    return next((place for place in places if os.path.exists(place)), places[0])


def feature_cache() -> Path:
    """Where features are kept unless a node says otherwise: `$XDG_CACHE_HOME/murmuration/features`."""
    chosen = os.environ.get("XDG_CACHE_HOME")
    return (Path(chosen) if chosen else Path.home() / ".cache") / "murmuration" / "features"


def seed_model(seed: str) -> Path:
    """The file of a seed model that is not 'random': 'embedded' ships with us, others are paths."""
    return murmuration_data.path("seed/model.safetensors") if seed == "embedded" else resolve(seed)


def corpus_path(kind: str, path: str) -> str:
    """The path of a corpus for `load_corpus`; what is no path on a disk stays as it is."""
    return str(resolve(path)) if path and kind not in WITHOUT_FILES else path


def resolve(path: str | Path) -> Path:
    """`path` as an absolute path; a relative one counts from the working directory, `~` is expanded."""
    return Path(path).expanduser().absolute()
