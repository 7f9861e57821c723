"""The address of the live page is a key: who has not got it, in a browser or beside it, learns nothing."""

import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import closing

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.watch.web_server import MOST_AT_ONCE
from tests.cli.report.run_folders import SECRETS, copied, plant
from tests.cli.watch.conftest import TOKEN, live_page, served


@pytest.fixture(scope="module")
def page(run):
    return live_page(run)


@pytest.fixture
def server(page):
    with served(page) as made:
        yield made


def sent(server, request):
    """The answer to the bytes of a request, as they come over the line."""
    with closing(socket.create_connection(server.server_address[:2], timeout=60)) as line:
        line.sendall(request)
        return b"".join(iter(lambda: line.recv(1 << 16), b""))


def get(server, path, host="127.0.0.1", *lines, method="GET"):
    head = [f"{method} {path} HTTP/1.1", *([f"Host: {host}"] if host else []), *lines, "", ""]
    return sent(server, "\r\n".join(head).encode("latin-1"))


def headers(answer):
    head = answer.split(b"\r\n\r\n")[0].decode().split("\r\n")
    return int(head[0].split()[1]), dict(line.split(": ", 1) for line in head[1:])


def test_whoever_has_the_address_gets_the_page(server, page):
    with urllib.request.urlopen(server.url) as answer:
        assert answer.read() == page.answer().content
    status, said = headers(get(server, f"/{TOKEN}/"))
    assert (
        status == 200 and said["Cache-Control"] == "no-store" and said["X-Content-Type-Options"] == "nosniff"
    )
    assert said["Referrer-Policy"] == "no-referrer" and said["X-Frame-Options"] == "DENY"
    assert (
        said["Cross-Origin-Resource-Policy"] == "same-origin"
        and "frame-ancestors 'none'" in said["Content-Security-Policy"]
    )
    assert not {"Server", "Date", "Set-Cookie", "Access-Control-Allow-Origin"} & set(said)
    policy = (
        page.answer()
        .content.decode()
        .split('http-equiv="Content-Security-Policy" content="')[1]
        .split('"')[0]
    )
    assert (
        policy.startswith("default-src 'none';")
        and "connect-src 'self';" in policy
        and "unsafe-eval" not in policy
    )


PATHS = (
    "/",
    "//",
    "/favicon.ico",
    f"/{TOKEN}x/",
    f"/{TOKEN[:-1]}",
    f"/{TOKEN}/metrics.jsonl",
    f"/{TOKEN}?a=1",
)
HIDDEN = (f"/x/../{TOKEN}/", f"/%74{TOKEN[1:]}/", f"http://127.0.0.1/{TOKEN}/", "/\xff\xfe/", "/ledger.jsonl")


@pytest.mark.parametrize("path", [*PATHS, *HIDDEN])
def test_whoever_has_not_learns_the_same_whatever_they_ask_for(server, path):
    answer = get(server, path)
    assert headers(answer)[0] == 404 and answer == get(server, "/something-else")
    assert TOKEN.encode() not in answer and answer.endswith(b"\r\n\r\nNot Found\n")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(
            (one, 200)
            for one in ("127.0.0.1", "127.0.0.1:1", "localhost:8000", "LOCALHOST", "[::1]:80", "[::1]")
        ),
        *(
            (one, 421)
            for one in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "", "::")
        ),
    ],
)
def test_a_name_that_was_made_to_lead_here_is_refused(server, host, status):
    """DNS rebinding: a page's own name comes to mean 127.0.0.1, and its programs read what is there."""
    assert headers(get(server, f"/{TOKEN}/", host))[0] == status
    assert headers(get(server, f"/{TOKEN}/", host, "Host: evil.example"))[0] == 421


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"])
def test_nothing_but_reading_is_possible(server, method):
    status, said = headers(get(server, f"/{TOKEN}/", method=method))
    assert (status, said["Allow"]) == (405, "GET")


@pytest.mark.parametrize(
    "request_",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /the-token/\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /the-token/ HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"GET /<script>alert(1)</script> HTTP/9.9\r\n\r\n",
    ],
)
def test_what_is_no_request_gets_nothing(server, request_):
    answer = sent(server, request_)
    assert b"epsilon" not in answer and b"script" not in answer and b"Traceback" not in answer


def test_a_page_that_did_not_change_is_not_sent_again(server, page):
    tag = headers(get(server, f"/{TOKEN}/"))[1]["ETag"]
    again = get(server, f"/{TOKEN}/", "localhost", f"If-None-Match: {tag}")
    assert headers(again)[0] == 304 and again.endswith(b"\r\n\r\n")
    assert headers(again)[1]["Proof"] == page.proof
    assert page.proof not in get(server, "/").decode()


def test_no_answer_to_the_public_has_a_secret(run, tmp_path, planned):
    made = copied(run, tmp_path / "runs")
    plant(made)
    page = live_page(made, "public")
    planned(page)
    with served(page) as server:
        answers = [
            get(server, one) for one in (f"/{TOKEN}/", "/", "/traffic.jsonl", f"/{TOKEN}/../summary.txt")
        ]
        answers.append(get(server, f"/{TOKEN}/", method="POST"))
        (made / "metrics.jsonl").write_text("planted-reason\n")
        page.look()
        page.look()
        answers.append(get(server, f"/{TOKEN}/"))
    assert page.said and b"cannot be read now" in answers[-1]  # with a path, on the terminal alone
    found = b"".join(answers).decode()
    assert not [secret for secret in (*SECRETS, str(tmp_path), made.name) if secret in found]


def test_many_connections_keep_no_more_than_so_many_threads(server):
    address = server.server_address[:2]
    idle = [socket.create_connection(address) for _ in range(MOST_AT_ONCE)]
    try:
        with closing(socket.create_connection(address, timeout=60)) as more:
            assert more.recv(1) == b""  # closed at once
    finally:
        for one in idle:
            one.close()


def watch(*arguments):
    return CliRunner().invoke(app, ["watch", *map(str, arguments)])


def test_bad_input_is_refused_by_name(run, tmp_path, page):
    done = watch(tmp_path)
    assert (done.exit_code, f"{tmp_path} is no run folder: it lacks config.toml" in done.output) == (2, True)
    assert watch(run, "--port", 70_000).exit_code == 2
    with served(page) as other:
        port = other.server_address[1]
        done = watch(run, "--port", port)
    assert (done.exit_code, f"--port {port}: Address already in use" in done.output) == (2, True)
    done = watch(run, "--host", "no.such.invalid")
    assert (done.exit_code, "--host no.such.invalid" in done.output) == (2, True)


def test_another_host_is_warned_of_in_a_sentence(run, monkeypatch):
    monkeypatch.setattr("cli.watch.web_server.WebServer.serve_forever", lambda server: None)
    done = watch(run, "--host", "0.0.0.0")
    assert done.exit_code == 0 and "unencrypted" in done.output and "http://127.0.0.1:" in done.output
    done = watch(run)
    assert done.exit_code == 0 and "unencrypted" not in done.output


def test_every_start_has_an_address_of_its_own(run, monkeypatch):
    monkeypatch.setattr("cli.watch.web_server.WebServer.serve_forever", lambda server: None)
    tokens = {watch(run).output.split("/")[3] for _ in range(2)}
    assert len(tokens) == 2 and all(len(one) >= 43 for one in tokens)  # 256 bits


def test_ctrl_c_ends_it_as_it_ends_other_commands(run):
    process = subprocess.Popen(
        [sys.executable, "-c", "from cli.main import main; main()", "watch", str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell lets what it starts in the background ignore Ctrl-C, and a child would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        url = process.stdout.readline().strip()
        with urllib.request.urlopen(url) as answer:
            assert b"epsilon" in answer.read()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert (process.returncode, "murmur watch: stopped" in said) == (130, True)
    finally:
        process.kill()
