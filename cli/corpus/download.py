"""`murmur corpus download`: the corpora whose licence lets a program fetch them."""

from typing import Annotated

import typer

from cli.corpus.options import Out, or_exit
from cli.progress import progress_bar
from speech.corpora import openslr
from speech.corpora.kinds.librispeech import subsets_of
from speech.errors import SpeechError

Mirror = Annotated[str, typer.Option(help="Another place that serves openslr.org's resources.")]


def download_librispeech(
    out: Out,
    part: Annotated[
        list[str], typer.Option(help="LS-100, LS-360, LS-500, LS-860, LS-960 or one subset; repeatable.")
    ],
    mirror: Mirror = openslr.OPENSLR,
) -> None:
    """Download subsets of LibriSpeech (CC BY 4.0); what is there already is left alone."""
    try:
        for subset in dict.fromkeys(subset for name in part for subset in subsets_of(name)):
            with progress_bar(subset, unit="bytes") as progress:
                folder = openslr.download_librispeech(out, subset, mirror=mirror, progress=progress)
            typer.echo(f"{subset}: {folder}")
    except (SpeechError, OSError) as error:
        raise or_exit(error) from None


def download_speechocean762(
    out: Out,
    sha256: Annotated[str | None, typer.Option(help="Demand this checksum of the archive.")] = None,
    mirror: Mirror = openslr.OPENSLR,
) -> None:
    """Download speechocean762 ("free for commercial and non-commercial purposes")."""
    try:
        with progress_bar("speechocean762", unit="bytes") as progress:
            folder, found = openslr.download_speechocean762(
                out, sha256=sha256, mirror=mirror, progress=progress
            )
        typer.echo(f"speechocean762: {folder}")
        if found and not sha256:
            typer.echo(f"nobody publishes a checksum of it; that of what came is {found}")
    except (SpeechError, OSError) as error:
        raise or_exit(error) from None
