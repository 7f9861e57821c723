"""Downloads of the corpora of openslr.org, and the checksums of their archives.

The checksums of LibriSpeech are those of torchaudio (torchaudio.datasets.librispeech). There is no published
one for speechocean762: its SHA-256 is returned after the download, and can be required by who has it.
"""

from pathlib import Path

from speech.corpora.download import Progress, fetch, unpack

OPENSLR = "https://www.openslr.org/resources"
LIBRISPEECH_SHA256 = {
    "dev-clean": "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
    "dev-other": "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
    "test-clean": "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
    "test-other": "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
    "train-clean-100": "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
    "train-clean-360": "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
    "train-other-500": "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
}


def download_librispeech(
    out: Path, subset: str, *, mirror: str = OPENSLR, progress: Progress = lambda done, total: None
) -> Path:
    """Download one subset to `out`/LibriSpeech/`subset`, unless it exists; delete its archive."""
    folder = out / "LibriSpeech" / subset
    if not folder.is_dir():
        archive = out / f"{subset}.tar.gz"
        fetch(f"{mirror}/12/{subset}.tar.gz", archive, sha256=LIBRISPEECH_SHA256[subset], progress=progress)
        folder.parent.mkdir(parents=True, exist_ok=True)
        unpack(archive, f"LibriSpeech/{subset}", folder)
        archive.unlink()
    return folder


def download_speechocean762(
    out: Path,
    *,
    sha256: str | None = None,
    mirror: str = OPENSLR,
    progress: Progress = lambda done, total: None,
) -> tuple[Path, str]:
    """Download to `out`/speechocean762; return the folder and the SHA-256 ("" if the folder existed)."""
    folder = out / "speechocean762"
    if folder.is_dir():
        return folder, ""
    archive = out / "speechocean762.tar.gz"
    found = fetch(f"{mirror}/101/{archive.name}", archive, sha256=sha256, progress=progress)
    unpack(archive, "speechocean762", folder)
    archive.unlink()
    return folder, found
