"""`murmur doctor`: each fault is caused, and must be named with what to do about it."""

import datetime
import socket
import ssl
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.approval.approvals import approve, digest_of
from cli.approval.releases import own_bundle
from cli.deploy import credentials, doctor, probes
from cli.main import app
from cli.processes import free_port
from tests.corpora import make_corpus
from tests.health import NOT_SERVING, SERVING, health_server


def consult(*arguments):
    done = CliRunner().invoke(app, ["doctor", *map(str, arguments)])
    return done.exit_code, done.output


@contextmanager
def waveform_model(context=None):
    """A server that shakes hands (or, without a context, says nothing sensible) until told to stop."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                    if context is None:
                        connection.sendall(b"HTTP/1.0 400 no\r\n\r\n")
                    else:
                        connection = context.wrap_socket(connection, server_side=True)
                    connection.close()
                except ssl.SSLError:
                    continue
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def folder(tmp_path):
    credentials.make_authority(tmp_path, name="Test", days=100)
    return tmp_path


def tls(folder, *names, days=60):
    credentials.make_certificate(folder, names, name="server", days=days)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    return context


def test_a_part_that_serves_is_in_order():
    with health_server(SERVING) as address:
        code, words = consult("--health", f"node-1={address}")
    assert code == 0 and "ok     node-1: serves" in words


def test_a_part_that_does_not_serve_is_named():
    with health_server(NOT_SERVING) as address:
        code, words = consult("--health", f"node-1={address}")
    assert code == 1 and "FAULT  node-1" in words and "see its log" in words


def test_a_part_that_is_not_there_is_named():
    code, words = consult("--health", f"superlink=127.0.0.1:{free_port()}")
    assert code == 1 and "FAULT  superlink" in words and "nothing answers there" in words


@pytest.mark.parametrize("given", ["superlink=", "superlink", "superlink=host", "superlink=http://host:9099"])
def test_an_address_that_is_none_is_not_asked(given):
    code, words = consult("--health", given)
    assert code == 1 and "is no address: write it as" in words and "host:port" in words


@pytest.mark.parametrize(
    ("arguments", "partner"),
    [
        (("--key", "/nonexist"), "--superlink"),
        (("--authority", "/nonexist"), "--superlink"),
        (("--corpus-split", "foo"), "--corpus-path"),
        (("--corpus-language", "fr"), "--corpus-path"),
        (("--corpus-unspelled", "map"), "--corpus-path"),
        (("--free-gib", "1e9"), "--disk"),
    ],
)
def test_an_option_that_would_check_nothing_is_refused_with_its_partner(arguments, partner):
    code, words = consult(*arguments)
    words = " ".join(words.replace("│", "").split())
    assert code == 2 and f"{arguments[0]} " in words and f"checks nothing alone: give {partner} too" in words


def test_a_zombie_is_told_from_a_missing_part(monkeypatch):
    monkeypatch.setattr(probes, "SECONDS", 0.5)
    monkeypatch.setattr(probes.health, "__defaults__", (0.5,))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code, words = consult("--health", f"node-1=127.0.0.1:{silent.getsockname()[1]}")
    assert code == 1 and "FAULT  node-1" in words
    assert "zombie" in words or "UNAVAILABLE" in words


def test_a_good_certificate(folder):
    with waveform_model(tls(folder, "127.0.0.1")) as address:
        code, words = consult("--superlink", address, "--authority", folder / "ca.crt")
    assert code == 0 and "certificate good until" in words and "EXPIRES" not in words


@pytest.mark.parametrize(
    ("days", "code", "verdict"),
    [(31, 0, "ok   "), (29, 0, "WARN "), (8, 0, "WARN "), (7, 1, "FAULT"), (3, 1, "FAULT")],
)
def test_a_certificate_warns_for_30_days_and_is_a_fault_for_7(folder, days, code, verdict):
    with waveform_model(tls(folder, "127.0.0.1", days=days)) as address:
        done = consult("--superlink", address, "--authority", folder / "ca.crt")
    from_disk = consult("--certificate", folder / "server.crt")
    for answer, words in (done, from_disk):
        assert answer == code and f"{verdict}  " in words, words
        assert (f"EXPIRES IN {days - 1} DAYS" in words) == (days < 30), words


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_certificate_that_cannot_be_read_is_a_fault(tmp_path, content):
    if content:
        (tmp_path / "server.crt").write_text(content)
    code, words = consult("--certificate", tmp_path / "server.crt")
    assert code == 1 and "FAULT  certificate" in words


def test_a_certificate_that_has_ended(tmp_path, monkeypatch):
    last_year = credentials._now() - datetime.timedelta(days=400)
    monkeypatch.setattr(credentials, "_now", lambda: last_year)
    credentials.make_authority(tmp_path, name="Test", days=1000)
    with waveform_model(tls(tmp_path, "127.0.0.1", days=365)) as address:
        code, words = consult("--superlink", address, "--authority", tmp_path / "ca.crt")
    assert code == 1 and "expired" in words
    assert "`murmur deploy renew`, and restart SuperLink and proxy" in words


def test_a_certificate_for_another_name(folder):
    with waveform_model(tls(folder, "superlink.example")) as address:
        code, words = consult("--superlink", address, "--authority", folder / "ca.crt")
    assert code == 1 and "murmur deploy server-cert NAME" in words


def test_a_certificate_of_another_authority(folder, tmp_path):
    credentials.make_authority(tmp_path / "other", name="Other", days=100)
    with waveform_model(tls(folder, "127.0.0.1")) as address:
        code, words = consult("--superlink", address, "--authority", tmp_path / "other" / "ca.crt")
    assert code == 1 and "Another authority made it" in words


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_an_authority_file_that_is_none(folder, content):
    file = folder / "given.crt"
    if content is not None:
        file.write_text(content)
    with waveform_model(tls(folder, "127.0.0.1")) as address:
        code, words = consult("--superlink", address, "--authority", file)
    assert code == 1 and "given.crt" in words and "get ca.crt from the SuperLink's owner" in words


def test_a_port_without_tls(folder):
    with waveform_model() as address:
        code, words = consult("--superlink", address, "--authority", folder / "ca.crt")
    assert code == 1 and "no TLS there" in words


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("superlink.invalid:9092", "is unknown"),
        ("127.0.0.1:PORT", "unreachable"),
        ("https://superlink.example", "write it as host:9092"),
    ],
)
def test_a_wrong_address(folder, address, expected):
    address = address.replace("PORT", str(free_port()))
    code, words = consult("--superlink", address, "--authority", folder / "ca.crt")
    assert code == 1 and expected in words


def test_a_full_disk_and_a_missing_folder(tmp_path):
    assert consult("--disk", tmp_path, "--free-gib", 0)[0] == 0
    code, words = consult("--disk", tmp_path, "--free-gib", 1e9)
    assert code == 1 and "remove old run folders" in words
    code, words = consult("--disk", tmp_path / "nowhere")
    assert code == 1 and "mount its volume" in words


def test_another_release_of_flower(monkeypatch):
    monkeypatch.setattr(doctor, "version", lambda name: "1.41.0" if name == "flwr" else "0.1.0")
    code, words = consult()
    assert code == 1 and "FAULT  release" in words and "1.39" in words


def test_speech_that_can_be_used_and_speech_that_cannot(tmp_path):
    corpus = make_corpus(tmp_path / "speech", {"train": 2})
    code, words = consult("--corpus-path", corpus)
    assert code == 0 and "2 speakers in split 'train'; 2 recordings tried can be read" in words
    code, words = consult("--corpus-path", corpus, "--corpus-split", "trian")
    assert code == 1 and "trian" in words
    code, words = consult("--corpus-path", tmp_path / "nowhere.jsonl")
    assert code == 1 and "FAULT  speech" in words
    code, words = consult("--corpus-path", corpus, "--corpus-language", "none")
    assert code == 1 and "language 'none' is not registered, and is no file" in words
    code, words = consult("--corpus-path", corpus, "--corpus-unspelled", "none")
    assert code == 1 and "--node-config corpus-unspelled='none': set it to one of 'skip', 'map'" in words


def test_recordings_that_cannot_be_read(tmp_path):
    """A manifest alone tells nothing: its sound may be on a disk that is not mounted."""
    corpus = make_corpus(tmp_path / "speech", {"train": 30}, utterances=1)
    for sound in sorted(corpus.parent.glob("*.flac"))[:10]:
        sound.write_bytes(b"fLaC")
    code, words = consult("--corpus-path", corpus)
    assert code == 1 and "30 speakers" in words and "5 of 15 recordings tried cannot be read" in words


@pytest.mark.parametrize("kind", ["manifest", "librispeech", "commonvoice", "speechocean762"])
def test_speech_that_this_user_may_not_read(tmp_path, monkeypatch, kind):
    def forbidden(self, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(self))

    for method in ("open", "stat", "iterdir", "glob", "rglob"):
        monkeypatch.setattr(Path, method, forbidden)
    code, words = consult("--corpus-kind", kind, "--corpus-path", tmp_path)
    assert code == 1 and "FAULT  speech" in words
    assert f"{tmp_path}" in words and "cannot be read (Permission denied)" in words


def test_it_says_which_releases_a_node_runs(tmp_path):
    code, words = consult("--approved", tmp_path / "approved")
    assert code == 1 and "cannot be read" in words
    (tmp_path / "approved").write_text(f"sha256 {'0' * 64}  another release\n")
    code, words = consult("--approved", tmp_path / "approved")
    assert code == 1 and "and not the installed release" in words
    approve(tmp_path / "approved", [f"sha256 {digest_of(own_bundle())}\n"])
    code, words = consult("--approved", tmp_path / "approved")
    assert code == 0 and "the installed release is one of them" in words


def test_who_has_left_is_not_among_the_speakers(tmp_path):
    manifest = make_corpus(tmp_path / "speech", {"train": 3}, utterances=1)
    state = tmp_path / "state"
    leave = ["corpus", "leave", "train-01", "--corpus-path", str(manifest), "--node-state", str(state)]
    assert CliRunner().invoke(app, leave).exit_code == 0
    code, said = consult("--corpus-path", manifest, "--node-state", state)
    assert code == 0 and "speech: 2 speakers in split 'train', 1 more have left" in said
    assert "speech: 3 speakers" in consult("--corpus-path", manifest)[1]
    (state / "left.jsonl").write_text("nonsense\n")
    code, said = consult("--corpus-path", manifest, "--node-state", state)
    assert code == 1 and "left.jsonl:1: is no entry" in said


def test_what_a_server_says_reaches_no_terminal_as_it_is(monkeypatch):
    monkeypatch.setattr(probes, "health", lambda address: "\x1b[2J\nok     superlink: serves\u202e")
    code, said = consult("--health", "superlink=127.0.0.1:1")
    assert code == 1 and "\x1b" not in said and "\u202e" not in said
    assert not any(line.startswith("ok     superlink") for line in said.splitlines())
