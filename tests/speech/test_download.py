"""speech.corpora.download against a web server on this machine that breaks off, forgets and lies."""

import errno
import hashlib
import io
import shutil
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from speech.corpora import download, openslr
from speech.corpora.download import DownloadError, fetch, unpack
from speech.corpora.loading import load_corpus
from tests.speech import layouts

CONTENT = bytes(range(256)) * 4096  # a megabyte
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `content`; the first `overloaded` answers are 503, the first `breaks` end after `upto`
    bytes. Keeps the Ranges asked for."""

    content = CONTENT
    breaks, upto, overloaded, ranges_known = 0, 0, 0, True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        if self.path.endswith("/absent"):
            self.send_error(404)
            return
        if server.overloaded:
            server.overloaded -= 1
            self.send_error(503)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges_known else 0
        if start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.end_headers()
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.breaks:
            server.breaks -= 1
            body = body[: server.upto]
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def get(server: Server, file: Path, **options: object) -> str:
    return fetch(f"{server.url}/file", file, **{"sha256": SHA256, "pause_seconds": 0.0, **options})


def test_a_file_comes_whole_and_is_not_fetched_twice(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    file = tmp_path / "new" / "file"
    assert get(server, file, progress=lambda done, total: seen.append((done, total))) == SHA256
    assert file.read_bytes() == CONTENT and list(file.parent.iterdir()) == [file]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    get(server, file)
    assert server.asked == [None]


def test_a_broken_connection_is_resumed_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.breaks, server.upto = 2, 300_000
    get(server, tmp_path / "file")
    assert server.asked == [None, "bytes=300000-", "bytes=600000-"]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_server_that_never_brings_anything_is_given_up_and_what_came_is_kept(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    server.breaks, server.upto = 99, 0
    with pytest.raises(DownloadError, match="after 1,000 bytes, which are kept; run it again"):
        get(server, tmp_path / "file")
    assert len(server.asked) == download.ATTEMPTS
    server.breaks = 0
    get(server, tmp_path / "file")
    assert server.asked[-1] == "bytes=1000-"


def test_a_server_without_ranges_sends_it_all_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    server.ranges_known = False
    get(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("extra", [b"", b"beyond"])
def test_a_part_that_is_complete_or_too_long(server: Server, tmp_path: Path, extra: bytes) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT + extra)
    get(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_wrong_checksum_deletes_what_came(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=f"SHA-256 is {SHA256} and not {'0' * 64}"):
        get(server, tmp_path / "file", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_bytes(b"of another time")
    with pytest.raises(DownloadError, match="It was deleted"):
        get(server, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_and_a_server_that_is_not_there(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="/absent: the server answers 404"):
        fetch(f"{server.url}/absent", tmp_path / "file")
    with pytest.raises(DownloadError, match="refused>, after 0 bytes"):
        fetch("http://127.0.0.1:9/file", tmp_path / "file", pause_seconds=0.0)


def test_a_server_that_is_overloaded_for_a_while(server: Server, tmp_path: Path) -> None:
    server.overloaded = 2
    get(server, tmp_path / "file")
    assert len(server.asked) == 3
    server.overloaded = 99
    with pytest.raises(DownloadError, match="503"):
        get(server, tmp_path / "again")


def test_too_little_room_is_an_error_before_and_a_full_disk_after(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
        with pytest.raises(DownloadError, match=r"0\.0 GB are needed and 0\.0 GB are free: make room"):
            get(server, tmp_path / "file")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(DownloadError, match=r"file\.part: no space left on its disk; make room and run"):
            get(server, tmp_path / "file")
    get(server, tmp_path / "file")
    assert server.asked[-1] == f"bytes={len(CONTENT)}-"


def packed(folder: Path, name: str) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as content:
        content.add(folder, name)
    return archive.getvalue()


def test_an_archive_that_cannot_be_used(tmp_path: Path) -> None:
    archive, out = tmp_path / "a.tar.gz", tmp_path / "out"
    (tmp_path / "data").mkdir()
    good = packed(tmp_path / "data", "other")
    evil = io.BytesIO()
    with tarfile.open(fileobj=evil, mode="w:gz") as content:
        content.addfile(tarfile.TarInfo("../outside"))
    for content, message in (
        (good, "has no folder wanted"),
        (good[:20], "cannot be unpacked"),
        (evil.getvalue(), "cannot be unpacked .*outside"),
    ):
        archive.write_bytes(content)
        with pytest.raises(DownloadError, match=message):
            unpack(archive, "wanted", out)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "data"]


def test_one_wrong_bit_in_an_archive_is_found(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    noise = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        (tmp_path / "data" / name).write_bytes(noise.bytes(2_000))
    good = packed(tmp_path / "data", "data")
    archive, out = tmp_path / "a.tar.gz", tmp_path / "out"
    for position in range(10, len(good), 97):
        bad = bytearray(good)
        bad[position] ^= 4
        archive.write_bytes(bad)
        with pytest.raises(DownloadError, match="cannot be unpacked"):
            unpack(archive, "data", out)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "data"]
    archive.write_bytes(good)
    unpack(archive, "data", out)


def test_librispeech_from_the_server_to_a_corpus(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layouts.librispeech(tmp_path / "origin" / "LibriSpeech", "dev-clean", "84", "YES", "NO")
    server.content = packed(tmp_path / "origin" / "LibriSpeech", "LibriSpeech")
    checksum = hashlib.sha256(server.content).hexdigest()
    monkeypatch.setitem(openslr.LIBRISPEECH_SHA256, "dev-clean", checksum)
    for _ in range(2):
        folder = openslr.download_librispeech(tmp_path / "out", "dev-clean", mirror=server.url)
    assert server.asked == [None]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["LibriSpeech"]
    assert load_corpus("librispeech", folder.parent).speakers("dev") == ("84",)


def test_the_checksum_of_speechocean762_is_returned(server: Server, tmp_path: Path) -> None:
    layouts.speechocean762(tmp_path / "origin", {"train": [("0001", "YES")], "test": [("0024", "NO")]})
    server.content = packed(tmp_path / "origin", "speechocean762")
    found = hashlib.sha256(server.content).hexdigest()
    folder, checksum = openslr.download_speechocean762(tmp_path / "out", mirror=server.url)
    assert checksum == found
    assert load_corpus("speechocean762", folder).splits == ("test", "train")
    with pytest.raises(DownloadError, match="SHA-256"):
        openslr.download_speechocean762(tmp_path / "again", sha256="0" * 64, mirror=server.url)


def test_the_checksums_are_those_of_torchaudio() -> None:
    librispeech = pytest.importorskip("torchaudio.datasets.librispeech")
    theirs = {url.split("/")[-1].removesuffix(".tar.gz"): sha for url, sha in librispeech._CHECKSUMS.items()}
    assert theirs == openslr.LIBRISPEECH_SHA256
