"""Downloads of large files: resumed after a break, checked by SHA-256.

Guarantee: a file or folder that has its name is whole. A download grows in `NAME.part`, which is renamed when
its checksum is right; an archive is unpacked beside its folder, which is renamed when it is complete. The
same command, run again, continues.
"""

import errno
import hashlib
import http.client
import lzma
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from base.durable_file import sync
from speech.errors import SpeechError

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 60.0
ATTEMPTS = 5
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


class DownloadError(SpeechError):
    """A file cannot be downloaded, or is not the requested one."""


Progress = Callable[[int, int | None], None]
"""Called with the bytes so far, and with their total if the server states it."""


def fetch(
    url: str,
    file: Path,
    *,
    sha256: str | None = None,
    progress: Progress = lambda done, total: None,
    pause_seconds: float = 2.0,
) -> str:
    """Download `url` to `file`, unless it exists.

    Args:
        url: The address.
        file: The path to write.
        sha256: The checksum that the file must have, if it is known.
        progress: Called as bytes arrive.
        pause_seconds: The pause after the first failure; it grows with each further one.

    Returns:
        The SHA-256 of the file.

    Raises:
        DownloadError: If the server refuses, if `ATTEMPTS` connections in a row break without a byte, if the
            disk is full, or if the checksum is wrong (the file is then deleted).
    """
    part = file.with_name(f"{file.name}.part")
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with _full_disk_explained(part):
            _complete(url, part, progress, pause_seconds)
    found = _sha256(file if file.exists() else part)
    if sha256 is not None and found != sha256:
        (file if file.exists() else part).unlink()
        raise DownloadError(
            f"{url}: its SHA-256 is {found} and not {sha256}: damaged in transfer, or another file. It was "
            "deleted; try again, or another mirror."
        )
    if not file.exists():
        part.replace(file)
    return found


def unpack(archive: Path, member: str, folder: Path) -> None:
    """Unpack the folder `member` of a tar archive as `folder`, which must not exist.

    Raises:
        DownloadError: For an archive that is damaged, has no such folder, or would write outside of it.
    """
    aside = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with _full_disk_explained(folder), tarfile.open(archive) as content:
            content.extractall(aside, filter="data")
            _require_whole(content)
        if not (aside / member).is_dir():
            raise DownloadError(f"{archive}: has no folder {member}; it is another archive.")
        (aside / member).rename(folder)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        raise DownloadError(f"{archive}: cannot be unpacked ({error}); delete it and try again.") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _require_whole(content: tarfile.TarFile) -> None:
    """Read to the end: a damaged header looks like an end, and only the checksums after it differ."""
    if content.fileobj is not None:
        while content.fileobj.read(CHUNK_BYTES):
            pass


def _complete(url: str, part: Path, progress: Progress, pause_seconds: float) -> None:
    """Bring `part` to its full length. An attempt that brought bytes is no failure."""
    failures = 0
    while True:
        before = _size(part)
        try:
            if _attempt(url, part, progress):
                return
            error: Exception | str = "the connection ended early"
        except urllib.error.HTTPError as refusal:
            if refusal.code < http.client.INTERNAL_SERVER_ERROR:
                raise DownloadError(f"{url}: the server answers {refusal.code} {refusal.reason}.") from None
            error = refusal
        except _BROKEN as broken:
            error = broken
        failures = 0 if _size(part) > before else failures + 1
        if failures == ATTEMPTS:
            raise DownloadError(
                f"{url}: {error}, after {_size(part):,} bytes, which are kept; run it again to continue."
            )
        time.sleep(pause_seconds * failures)


def _attempt(url: str, part: Path, progress: Progress) -> bool:
    """Request the missing bytes; return whether the file is complete."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as refusal:
        if refusal.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        # The server has no further bytes: the part is complete, or it is of another file.
        if refusal.headers.get("Content-Range") == f"bytes */{have}":
            return True
        part.unlink()
        return False
    with response:
        if response.status != http.client.PARTIAL_CONTENT:
            have = 0  # the server sends all of it again
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        _require_room(part, (total or have) - have)
        with part.open("ab" if have else "wb") as file:
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                have += len(chunk)
                progress(have, total)
        sync(part)
    return total is None or have == total


def _require_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise DownloadError(
            f"{part.parent}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free: make room, "
            "or give another folder."
        )


@contextmanager
def _full_disk_explained(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DownloadError(
            f"{place}: no space left on its disk; make room and run it again: the downloaded part is kept."
        ) from error


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
