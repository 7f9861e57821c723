"""What the commands of `murmur corpus` have in common: how a corpus is named, and how they fail."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

Kind = Annotated[
    str,
    typer.Argument(
        help="embedded, manifest, librispeech, commonvoice, speechocean762, huggingface or synthetic."
    ),
]
Place = Annotated[str, typer.Argument(help="Where it lies (synthetic: how many); nothing for embedded.")]
MaxSeconds = Annotated[float, typer.Option(help="Leave out longer utterances.")]
Language = Annotated[str, typer.Option(help="What is spoken: en, fr or de.")]
UnspelledChoice = Annotated[
    Literal["skip", "map"],
    typer.Option(help="Transcripts with digits or foreign letters: leave out, or keep what can be spelled."),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="The folder to write to.")]


def or_exit(error: Exception) -> typer.Exit:
    """A person who mistyped a path wants the sentence, not the traceback."""
    Console(stderr=True).print(f"error: {error}", style="red", markup=False, soft_wrap=True)
    return typer.Exit(code=1)
