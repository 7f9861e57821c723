"""Make the site in build/docs, or say what is wrong with it."""

from __future__ import annotations

import shutil
import subprocess
import sys

from docs_site.checks import faults
from docs_site.reference import pages
from docs_site.staging import ROOT, SITE, SOURCE, stage


def main() -> None:
    """Stage the pages, write the reference, build, check.

    Raises:
        SystemExit: With what is wrong, if the build warns or a link, an anchor or a resource is not there.
    """
    for folder in (SOURCE, SITE):
        shutil.rmtree(folder, ignore_errors=True)
    stage(ROOT / "docs", SOURCE, also=[ROOT / "benchmarks" / "README.md"])
    shutil.copy(ROOT / "docs_site" / "site.css", SOURCE)
    for name, text in pages().items():
        (SOURCE / name).parent.mkdir(parents=True, exist_ok=True)
        (SOURCE / name).write_text(text, encoding="utf-8")
    built = subprocess.run(
        [
            sys.executable,
            "-m",
            "zensical",
            "build",
            "--clean",
            "--strict",
            "--config-file",
            ROOT / "mkdocs.yml",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if built.returncode:
        sys.exit(built.stdout)
    if wrong := faults(SITE):
        sys.exit("\n".join(wrong))
    print(f"{len(list(SITE.rglob('*.html')))} pages: {SITE.relative_to(ROOT)}/index.html")


if __name__ == "__main__":
    main()
