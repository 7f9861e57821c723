"""What a SuperLink answers to a key is told in words that say what to do."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from flwr.proto.fleet_pb2_grpc import FleetServicer, add_FleetServicer_to_server
from flwr.supercore.error import ApiErrorCode
from typer.testing import CliRunner

from cli.deploy import credentials
from cli.main import app


def flowers(code, message=""):
    """An error as Flower's gRPC servers write it."""
    return json.dumps({"code": int(code), "public_message": message, "public_details": None})


@contextmanager
def superlink(folder, status, details):
    """A gRPC server with a good certificate that refuses every activation with `details`."""

    class Refusing(FleetServicer):
        def ActivateNode(self, request, context):
            context.abort(status, details)

    credentials.make_certificate(folder, ["127.0.0.1"], name="server", days=100)
    pair = ((folder / "server.key").read_bytes(), (folder / "server.crt").read_bytes())
    server = grpc.server(ThreadPoolExecutor(2))
    add_FleetServicer_to_server(Refusing(), server)
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0)


@pytest.fixture
def folder(tmp_path):
    credentials.make_authority(tmp_path, name="Test", days=100)
    credentials.make_node_key(tmp_path, "clinic-a")
    return tmp_path


def consult(folder, address):
    question = ("--superlink", address, "--authority", folder / "ca.crt", "--key", folder / "clinic-a.key")
    done = CliRunner().invoke(app, ["doctor", *map(str, question)])
    return done.exit_code, next(line for line in done.output.splitlines() if "clinic-a.key" in line)


@pytest.mark.parametrize(
    ("details", "words"),
    [
        (flowers(ApiErrorCode.FLEET_INVALID_HEARTBEAT_INTERVAL), "ok     key clinic-a.key: admitted"),
        (flowers(ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED), "`murmur deploy register clinic-a.pub`"),
        (flowers(ApiErrorCode.RUNTIME_VERSION_INCOMPATIBLE, "1.41"), "do not go together"),
        (flowers(ApiErrorCode.FLEET_RUN_STATUS_NOT_ALLOWED, "not now"), "FAULT  key clinic-a.key: not now"),
        ("[1]", "FAULT  key clinic-a.key: [1]"),
        ("Missing authentication", "FAULT  key clinic-a.key: Missing authentication"),
    ],
)
def test_each_answer_is_told_from_the_others(folder, details, words):
    with superlink(folder, grpc.StatusCode.FAILED_PRECONDITION, details) as address:
        code, line = consult(folder, address)
    assert words in line
    assert code == int(line.startswith("FAULT"))


def test_a_key_that_others_can_read_is_not_even_tried(folder):
    (folder / "clinic-a.key").chmod(0o644)
    with superlink(folder, grpc.StatusCode.FAILED_PRECONDITION, flowers(2003)) as address:
        code, line = consult(folder, address)
    assert code == 1 and "others can read it: chmod 600" in line


@pytest.mark.parametrize("content", [None, "ssh-rsa AAAA", "\x00"])
def test_what_is_no_node_key_is_named(folder, content):
    (folder / "clinic-a.key").unlink()
    if content is not None:
        (folder / "clinic-a.key").write_text(content)
    with superlink(folder, grpc.StatusCode.FAILED_PRECONDITION, flowers(2003)) as address:
        code, line = consult(folder, address)
    assert code == 1 and "`murmur deploy node-key` makes one" in line
