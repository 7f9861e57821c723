"""The proxy before the SuperLink: what took memory without a key takes none, and honest nodes notice nothing.

The SuperLink, the proxy and the SuperNode are real processes with TLS and node keys. The same requests are
sent to the bare SuperLink at the end: it does grow, so these tests can fail.
"""

import socket
import ssl
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import grpc
import pytest
from flwr.client.grpc_rere_client.node_auth_client_interceptor import NodeAuthClientInterceptor
from flwr.common.constant import FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE as CHUNK
from flwr.proto.fleet_pb2_grpc import FleetStub
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.supercore.runtime_version_compatibility import RuntimeVersionMetadata

from cli.deploy import credentials
from cli.deploy.admission import Admission, admission, load_node_key
from cli.processes import free_port
from tests.flower_commands import FlowerCommands
from tests.processes import run_command, server, wait_until
from tests.proxy import find_nginx, proxy

pytestmark = pytest.mark.federation

PUSH_OBJECT = "/flwr.proto.Fleet/PushObject"
LARGE = 150_000_000
MEBIBYTE = 2**20
SECONDS = 60.0
DATA, HEADERS, SETTINGS = 0, 1, 4  # HTTP/2 frames
END_HEADERS = 4


@dataclass(frozen=True)
class Site:
    """The folder of everything, and the SuperLink's process; the ports of its doors."""

    folder: Path
    process: int
    fleet: int
    public: int
    proxy_log: Path

    def memory(self):
        """The most memory that the SuperLink has ever held, in bytes."""
        status = Path(f"/proc/{self.process}/status").read_text().splitlines()
        (line,) = [line for line in status if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024

    @contextmanager
    def channel(self, port, **options):
        authority = grpc.ssl_channel_credentials((self.folder / "ca.crt").read_bytes())
        # A connection for each channel: gRPC would share one
        limits = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.secure_channel(f"localhost:{port}", authority, options=limits, **options) as channel:
            yield channel

    def send(self, port, body, method=PUSH_OBJECT, **options):
        """Send a request as it is, without a key; what it was answered."""
        with self.channel(port, **options) as channel, pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(method)(body, timeout=SECONDS)
        return refused.value.code(), refused.value.details()

    def send_four_of_150_megabytes(self, port):
        body = bytes(LARGE)
        with ThreadPoolExecutor(4) as pool:
            return set(pool.map(lambda _: self.send(port, body), range(4)))

    @cached_property
    def commands(self):
        return FlowerCommands(self.folder)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    program, reason = find_nginx(folder / "nginx")
    if reason:
        print(f"\nNOT TESTED, the proxy before the SuperLink: {reason}", file=sys.__stderr__)
        pytest.skip(reason)
    credentials.make_authority(folder, name="Test", days=1)
    credentials.make_certificate(folder, ["localhost", "127.0.0.1"], name="server", days=1)
    credentials.make_secret(folder)
    credentials.make_node_key(folder, "node")
    runtime, fleet, public = free_port(), free_port(), free_port()
    with ExitStack() as stack:
        process = stack.enter_context(
            server(
                "flower-superlink", "--isolation", "process", "--host", "127.0.0.1", "--port", runtime,
                "--fleet-api-address", f"127.0.0.1:{fleet}", "--enable-supernode-auth",
                "--superexec-auth-secret-file", folder / "superexec.secret",
                "--ssl-ca-certfile", folder / "ca.crt", "--ssl-certfile", folder / "server.crt",
                "--ssl-keyfile", folder / "server.key", "--database", folder / "superlink.db",
                home=folder, log=folder / "superlink.log",
            )
        )  # fmt: skip
        log = stack.enter_context(proxy(program, folder, folder, port=public, superlink=fleet))
        made = Site(folder, process.pid, fleet, public, log)
        words = ("deploy", "connection", f"127.0.0.1:{runtime}", "--folder", folder)
        assert run_command("murmur", *words, home=folder, cwd=folder).returncode == 0
        wait_until(lambda: _listens(made), seconds=60, what="the SuperLink's gRPC port")
        stack.callback(made.commands.close)
        yield made


def _listens(site):
    with site.channel(site.fleet) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=1)
        except grpc.FutureTimeoutError:
            return False
    return True


@pytest.fixture(scope="module")
def node(site):
    """A registered SuperNode that is connected through the proxy."""
    site.commands("supernode", "register", str(site.folder / "node.pub"))
    command = (
        "flower-supernode", "--isolation", "process", "--superlink", f"localhost:{site.public}",
        "--root-certificates", site.folder / "ca.crt",
        "--auth-supernode-private-key", site.folder / "node.key",
        "--superexec-auth-secret-file", site.folder / "superexec.secret",
        "--host", "127.0.0.1", "--port", free_port(),
    )  # fmt: skip
    with server(*command, home=site.folder / "node", log=site.folder / "supernode.log") as process:
        yield process


def test_what_is_sent_without_a_key_takes_no_memory_through_the_proxy(site):
    before = site.memory()
    assert site.send_four_of_150_megabytes(site.public) == {
        (grpc.StatusCode.UNKNOWN, "Received http2 header with status: 413")
    }
    # Each of the four may have got as far as the proxy's limit of 8 MB
    assert site.memory() - before < 64 * MEBIBYTE
    log = site.proxy_log.read_text()
    assert log.count("client intended to send too large") == 4 and "client: 127.0.0.1" in log, log


def test_what_is_sent_compressed_is_never_unpacked(site):
    before = site.memory()
    answer = site.send(site.public, bytes(LARGE), compression=grpc.Compression.Gzip)
    assert answer == (grpc.StatusCode.INTERNAL, "Compression bit set but no encoding configured")
    assert site.memory() - before < 16 * MEBIBYTE


def test_nothing_but_the_fleet_api_is_behind_the_door(site):
    code, words = site.send(site.public, b"", method="/flwr.proto.Control/StartRun")
    assert (code, "404" in words) == (grpc.StatusCode.UNIMPLEMENTED, True)


def test_an_honest_supernode_connects_and_sends_whole_chunks(site, node):
    wait_until(lambda: site.commands.online() == 1, seconds=40, what="the node online")
    key = load_node_key(site.folder / "node.key")
    address, authority = f"localhost:{site.public}", site.folder / "ca.crt"
    assert admission(address, authority, key, SECONDS)[0] is Admission.ADMITTED
    release = RuntimeVersionMetadata.from_local_component("SuperNode").append_to_grpc_metadata(None)
    with site.channel(site.public) as channel, pytest.raises(grpc.RpcError) as answer:
        signed = grpc.intercept_channel(channel, NodeAuthClientInterceptor(key, key.public_key()))
        chunk = PushObjectRequest(object_id="0" * 64, object_content=bytes(CHUNK))
        FleetStub(signed).PushObject(chunk, timeout=SECONDS, metadata=release)
    # The SuperLink's own word: it has read the request, and looked for its node
    assert (answer.value.code(), answer.value.details()) == (
        grpc.StatusCode.UNAUTHENTICATED,
        "Invalid node ID",
    )


def half_a_request(site):
    """A connection with one request whose body stops after ten bytes of a thousand; gRPC sends none such."""
    context = ssl.create_default_context(cafile=str(site.folder / "ca.crt"))
    context.set_alpn_protocols(["h2"])
    plain = socket.create_connection(("127.0.0.1", site.public), timeout=SECONDS)
    connection = context.wrap_socket(plain, server_hostname="localhost")
    fields = {":method": "POST", ":scheme": "https", ":path": PUSH_OBJECT, ":authority": "localhost",
              "content-type": "application/grpc", "te": "trailers"}  # fmt: skip
    header = b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields.items()
    )
    frames = frame(SETTINGS, 0, 0, b"") + frame(HEADERS, END_HEADERS, 1, header)
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frames)
    connection.sendall(frame(DATA, 0, 1, b"\0\0\0\x03\xe8" + bytes(10)))
    return connection


def frame(kind, flags, stream, payload):
    """An HTTP/2 frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def test_one_address_cannot_take_all_requests(site, node):
    """While it has sixteen unfinished ones, it is told to come back later: a SuperNode does."""
    unready = (grpc.StatusCode.UNAVAILABLE, "Received http2 header with status: 503")
    wait_until(lambda: site.commands.online() == 1, seconds=40, what="the node online")
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(half_a_request(site))
        wait_until(lambda: site.send(site.public, b"") == unready, seconds=10, what="a refusal")
        wait_until(
            lambda: "attempt failed" in (site.folder / "supernode.log").read_text(),
            seconds=20,
            what="a refusal of the node",
        )
    assert "limiting connections by zone" in site.proxy_log.read_text()
    wait_until(
        lambda: site.send(site.public, b"")[0] is grpc.StatusCode.UNAUTHENTICATED,
        seconds=20,
        what="an answer of the SuperLink",
    )
    wait_until(
        lambda: "Connection successful" in (site.folder / "supernode.log").read_text(),
        seconds=20,
        what="the node's return",
    )
    assert node.poll() is None and site.commands.online() == 1


def test_the_bare_superlink_does_grow(site):
    """The last test, since the SuperLink keeps what it has taken."""
    before = site.memory()
    assert site.send_four_of_150_megabytes(site.fleet) == {
        (grpc.StatusCode.UNAUTHENTICATED, "Missing authentication metadata")
    }
    assert site.memory() - before > 300 * MEBIBYTE
