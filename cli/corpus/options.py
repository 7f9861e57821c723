"""What the commands of `murmur corpus` have in common: how a corpus is named, and how they fail."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from cli.exits import REFUSED
from recipes import WITHOUT_FILES

Kind = Annotated[
    str,
    typer.Argument(
        help="embedded, manifest, librispeech, commonvoice, speechocean762, huggingface or synthetic."
    ),
]
CorpusPath = Annotated[str, typer.Argument(help="Where it lies (synthetic: how many); nothing for embedded.")]
MaxSeconds = Annotated[float, typer.Option(help="Leave out longer utterances.")]
Language = Annotated[str, typer.Option(help="What is spoken: en, fr, de, or a file with the characters.")]
UnspelledChoice = Annotated[
    Literal["skip", "map"],
    typer.Option(help="Transcripts with digits or foreign letters: leave out, or keep what can be spelled."),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="The folder to write to.")]


def place_here(kind: str, path: Path | None) -> str:
    """A corpus' path from a command line: it counts from where one stands, where it is a path on a disk."""
    if path is None:
        return ""
    return str(path) if kind in WITHOUT_FILES else str(path.resolve())


def or_exit(error: Exception) -> typer.Exit:
    """A person who mistyped a path wants the sentence, not the traceback."""
    Console(stderr=True).print(f"error: {error}", style="red", markup=False, soft_wrap=True)
    return typer.Exit(REFUSED)
