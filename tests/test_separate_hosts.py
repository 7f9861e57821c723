"""Three hosts and a stranger: a private run over gRPC with TLS and node keys, and every door tried.

The hosts are network namespaces: a SuperLink with its ServerApp, two SuperNodes beside their speech with
their ClientApps, all in process isolation, the proxy before the SuperLink, and a fourth host that has no
business here.
"""

import json
import os
import shutil
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from cli.composing import config_of_run, staged_app
from cli.deploy import credentials
from cli.processes import tool
from optim.flat_model import layout_of
from optim.trainable import freeze
from privacy import packed_bytes, read_ledger
from server.factory import make_bounds, starting_model
from tests.corpora import make_corpus
from tests.flower_commands import FlowerCommands
from tests.hosts import Host, hosts, slow_uplink, why_no_hosts
from tests.loopback import rounds_answered
from tests.model_copies import other_copy
from tests.pretrained_models import tiny_model
from tests.processes import run_command, server, wait_until
from tests.proxy import find_nginx, proxy

pytestmark = pytest.mark.federation

WHISPER, RETRAINED = "maker/whisper", "maker/retrained"
BASE_MODEL = "--node-config 'base-model=\"...\"'"
FLEET, BEHIND = 9092, 9093  # the proxy, and the SuperLink behind it on its loopback
SCAN = """
import socket, sys
for port in range(1, 65536):
    with socket.socket() as probe:
        probe.settimeout(0.5)
        if probe.connect_ex((sys.argv[1], port)) == 0:
            print(port)
"""
# What a process does that wants the server's task: it asks for it.
TAKE_TASK = """
import sys
from pathlib import Path
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor, SuperExecAuthHttpInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.superexec.run_superexec import _SUPEREXEC_AUTH_METHODS

address, authority, guess = sys.argv[1:]
passes = [RuntimeVersionHttpInterceptor(component_name="SuperExec")]
if guess:
    passes.append(SuperExecAuthHttpInterceptor(
        master_secret=guess.encode(), protected_methods=_SUPEREXEC_AUTH_METHODS
    ))
client = RuntimeHttpClient.from_server_address(
    server_address=address, insecure=False, root_certificates=Path(authority).read_bytes(),
    interceptors=passes,
)
try:
    answer = client.AcquireTask(AcquireTaskRequest(supported_task_types=["flwr-serverapp"]))
    print("taken:", answer)
except Exception as error:
    print("refused:", error)
"""


@dataclass(frozen=True)
class Site:
    """A host with a disk of its own: home folder, logs, and the credentials it was given."""

    host: Host
    folder: Path

    def run(self, *words, seconds=120):
        return run_command(
            *self.host.command(*words), home=self.folder, cwd=self.folder, seconds=seconds
        )  # fmt: skip

    def start(self, name, *words):
        return server(
            *self.host.command(tool(words[0]), *map(str, words[1:])),
            home=self.folder,
            log=self.folder / f"{name}.log",
        )

    def log(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")

    @cached_property
    def commands(self):
        return FlowerCommands(self.folder, self.host.command())


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    reason = why_no_hosts()
    if reason:
        print(f"\nNOT TESTED, closed doors between separate hosts: {reason}", file=sys.__stderr__)
        pytest.skip(reason)
    with hosts("server", "north", "south", "stranger") as made:
        folders = [tmp_path_factory.mktemp(name) for name in ("server", "north", "south", "stranger")]
        yield [Site(host, folder) for host, folder in zip(made, folders, strict=True)]


def murmur(site, *words):
    done = site.run(tool("murmur"), "deploy", *map(str, words))
    assert done.returncode == 0, done.stdout
    return done.stdout


def node(site, superlink, *, name, keys, config=""):
    """The command of a SuperNode in process isolation; its runtime API stays on its own loopback."""
    return site.start(
        name, "flower-supernode", "--superlink", f"{superlink.host.address}:{FLEET}", *keys,
        "--isolation", "process", "--superexec-auth-secret-file", site.folder / "superexec.secret",
        "--max-retries", "2", "--node-config", config,
    )  # fmt: skip


def executor(site, name, port, *security):
    return site.start(
        name, "flower-superexec", "--runtime-api-address", f"127.0.0.1:{port}", *security
    )  # fmt: skip


@pytest.fixture(scope="module")
def federation(sites):
    """SuperLink up, two nodes admitted and connected, their ClientApps waiting; no ServerApp yet."""
    superlink, north, south, _ = sites
    own = superlink.folder
    credentials.make_authority(own, name="Test", days=60)
    names = [superlink.host.address, "localhost", "127.0.0.1"]
    credentials.make_certificate(own, names, name="server", days=60)
    nginx, _ = find_nginx(own / "nginx")
    fleet = f"127.0.0.1:{BEHIND}" if nginx else f"0.0.0.0:{FLEET}"
    credentials.make_secret(own)
    murmur(superlink, "connection", "127.0.0.1:8000", "--folder", own)
    with ExitStack() as stack:
        stack.enter_context(
            superlink.start(
                "superlink", "flower-superlink", "--isolation", "process",
                "--host", "127.0.0.1", "--port", "8000", "--fleet-api-address", fleet,
                "--enable-supernode-auth", "--superexec-auth-secret-file", own / "superexec.secret",
                "--ssl-ca-certfile", own / "ca.crt", "--ssl-certfile", own / "server.crt",
                "--ssl-keyfile", own / "server.key", "--database", own / "state.db",
            )
        )  # fmt: skip
        if nginx:  # else test_proxy.py says that there is none
            door = proxy(
                nginx,
                own,
                own,
                port=FLEET,
                superlink=BEHIND,
                address="0.0.0.0",
                host=superlink.host.command(),
            )
            stack.enter_context(door)
        listening = superlink.host.command("ss", "-ltnH")
        wait_until(
            lambda: fleet[fleet.index(":") :] in run_command(*listening, home=own, cwd=own).stdout,
            seconds=60,
            what="the SuperLink's gRPC port",
        )
        publics = []
        for site in (north, south):
            _, public = credentials.make_node_key(site.folder, "node")
            publics.append(own / f"{site.host.namespace}.pub")
            publics[-1].write_bytes(public.read_bytes())
        murmur(superlink, "register", *publics)
        for site, speakers in ((north, 2), (south, 3)):
            (site.folder / "ca.crt").write_bytes((own / "ca.crt").read_bytes())
            credentials.make_secret(site.folder)
            corpus = make_corpus(site.folder / "speech", {"train": speakers})
            keys = ("--root-certificates", site.folder / "ca.crt",
                    "--auth-supernode-private-key", site.folder / "node.key")  # fmt: skip
            config = f'corpus-kind="manifest" corpus-path="{corpus}" limits="none"'
            if site is north:  # the other has its copy in its store, and allows every model
                config += f' base-model="{site.folder / "whisper"}" models="tiny,{WHISPER},{RETRAINED}"'
            stack.enter_context(node(site, superlink, name="node", keys=keys, config=config))
            murmur(site, "approve", "--list", site.folder / "approved")
            stack.enter_context(
                site.start(
                    "clientapp", "murmur", "deploy", "clientapp", "--supernode", "127.0.0.1:9094",
                    "--secret", site.folder / "superexec.secret", "--approved", site.folder / "approved",
                )
            )  # fmt: skip
        stack.callback(superlink.commands.close)
        wait_until(lambda: superlink.commands.online() == 2, seconds=60, what="both nodes online")
        yield superlink


def test_nothing_but_the_grpc_port_is_open(federation, sites):
    superlink, north, _, stranger = sites
    for target, expected in ((superlink, [str(FLEET)]), (north, [])):
        scanned = stranger.run(sys.executable, "-c", SCAN, target.host.address)
        assert scanned.stdout.split() == expected


@pytest.mark.parametrize(
    ("keys", "authority", "refusal"),
    [
        ([], "ca", "2001"),
        (["--auth-supernode-private-key", "node.key"], "ca", "2004"),
        (["--auth-supernode-private-key", "node.key"], "wrong", "CERTIFICATE_VERIFY_FAILED"),
    ],
    ids=["no key", "a key that nobody registered", "another authority"],
)
def test_a_stranger_is_told_no(federation, sites, keys, authority, refusal, tmp_path):
    superlink, _, _, stranger = sites
    site = Site(stranger.host, tmp_path)
    (site.folder / "ca.crt").write_bytes((superlink.folder / "ca.crt").read_bytes())
    credentials.make_authority(site.folder / "wrong", name="Wrong", days=1)
    credentials.make_node_key(site.folder, "node")
    credentials.make_secret(site.folder)
    certificate = site.folder / ("ca.crt" if authority == "ca" else "wrong/ca.crt")
    given = [word if word.startswith("--") else site.folder / word for word in keys]
    with node(site, superlink, name="x", keys=["--root-certificates", certificate, *given]) as process:
        wait_until(
            lambda: process.poll() is not None or refusal in site.log("x"), seconds=60, what="a refusal"
        )
    assert refusal in site.log("x"), site.log("x")
    assert superlink.commands.online() == 2


def test_a_node_sent_to_a_wrong_address_gives_up_and_says_so(federation, sites, tmp_path):
    _, north, south, _ = sites
    site = Site(south.host, tmp_path)
    for name in ("ca.crt", "superexec.secret"):
        (site.folder / name).write_bytes((south.folder / name).read_bytes())
    credentials.make_node_key(site.folder, "node")
    keys = ("--root-certificates", site.folder / "ca.crt",
            "--auth-supernode-private-key", site.folder / "node.key",
            "--port", 9095)  # fmt: skip
    with node(site, north, name="x", keys=keys) as process:
        wait_until(lambda: process.poll() is not None, seconds=60, what="its end")
    assert "Connection attempt failed" in site.log("x") and "Exit Code: 305" in site.log("x"), site.log("x")
    wrong = f"{north.host.address}:{FLEET}"
    answer = site.run(tool("murmur"), "doctor", "--superlink", wrong, "--authority", site.folder / "ca.crt")
    assert answer.returncode == 1 and "unreachable (Connection refused)" in answer.stdout, answer.stdout


def test_the_doctor_tells_an_admitted_key_from_an_unknown_one(federation, sites, tmp_path):
    superlink, north, _, stranger = sites
    question = (
        "doctor", "--superlink", f"{superlink.host.address}:{FLEET}",
        "--authority", north.folder / "ca.crt", "--key",
    )  # fmt: skip
    answer = north.run(tool("murmur"), *question, north.folder / "node.key")
    assert (answer.returncode, "node.key: admitted" in answer.stdout) == (0, True), answer.stdout
    credentials.make_node_key(tmp_path, "unknown")
    answer = stranger.run(tool("murmur"), *question, tmp_path / "unknown.key")
    assert (answer.returncode, "not registered, or revoked" in answer.stdout) == (1, True), answer.stdout
    assert superlink.commands.online() == 2, "asking has disturbed a node"


def private_parts(site):
    """Every line of a private key, and the secret: what no log may hold."""
    keys = [line for key in site.folder.glob("*.key") for line in key.read_text().splitlines()]
    return [line for line in keys if "-----" not in line] + [(site.folder / "superexec.secret").read_text()]


def test_a_private_run_that_no_impostor_can_take(federation, sites):
    """One of its nodes is at the end of a line of 4 Mbit/s, where its update takes seconds."""
    superlink, north, south, stranger = sites
    own = superlink.folder
    held_out = make_corpus(own / "held-out", {"test": 2})
    config = (
        f'corpus.kind="manifest" corpus.path="{held_out}" model.seed="random" training.min-nodes=2 '
        "training.rounds=2 training.cohort=5.0 training.round-deadline-seconds=60.0 "
        'privacy.population-name="ward"'
    )
    connected = ("--root-certificates", own / "ca.crt")
    app = staged_app(own / "app")
    done = superlink.run(tool("flwr"), "run", str(app), "--run-config", config, "--format", "json")
    run_id = str(json.loads(done.stdout[done.stdout.index("{") :])["run-id"])
    for guess in ("", "not the secret"):  # from the server's own host, where the port is reachable
        taken = superlink.run(sys.executable, "-c", TAKE_TASK, "127.0.0.1:8000", own / "ca.crt", guess)
        assert "401 Unauthorized" in taken.stdout, taken.stdout
    secret = ("--superexec-auth-secret-file", own / "superexec.secret")

    def status():
        return superlink.commands.status(run_id)

    assert status() == "pending"
    with (
        slow_uplink(south.host, kbit_per_second=4000),
        executor(superlink, "serverapp", 8000, *connected, *secret),
    ):
        wait_until(lambda: status().startswith("finished"), seconds=150, what="the end of the run")
    assert status() == "finished:completed", superlink.log("serverapp")
    run_folder = own / "runs" / "latest"
    assert rounds_answered(run_folder) == [(2, 2), (2, 2)]
    assert len(read_ledger(run_folder / "ledger.jsonl")) == 2
    for site in (north, south, stranger):  # a node's task had a folder of its own, which went with it
        assert not (site.folder / "flwr" / "apps").exists()
    secrets = [part for site in (superlink, north, south) for part in private_parts(site)]
    told = [log for site in sites for log in Path(site.folder).glob("*.log")]
    told += [file for file in run_folder.iterdir() if file.suffix in (".toml", ".jsonl", ".txt")]
    assert len(secrets) > 20 and len(told) > 8
    for file in told:
        assert not any(secret in file.read_text(errors="replace") for secret in secrets), file
    assert os.stat(own / "server.key").st_mode & 0o077 == 0


@pytest.fixture(scope="module")
def copies(sites):
    """A tiny Whisper on all hosts, and at the server another one of the same shape."""
    superlink, north, south, _ = sites
    folder = tiny_model("whisper", superlink.folder / "models" / WHISPER)
    store = south.folder / "models"
    for copy in (north.folder / "whisper", store / WHISPER, store / RETRAINED):
        shutil.copytree(folder, copy)
    other_copy(folder, superlink.folder / "models" / RETRAINED)
    return folder


@pytest.fixture(scope="module")
def run_of(federation, sites, copies):
    """Runs a round of a model to its end; returns what the server and the two nodes said meanwhile."""
    superlink, north, south, _ = sites
    own = superlink.folder
    held_out = make_corpus(own / "held-out-for-whisper", {"test": 1}, utterances=1)

    def run(model):
        before = [len(site.log("clientapp")) for site in (north, south)]
        config = (
            f'corpus.kind="manifest" corpus.path="{held_out}" corpus.max-seconds=4.0 model.name="{model}" '
            'model.seed="base" model.adapters="*.q_proj,*.v_proj,*.fc1" model.adapter-rank=4 '
            'model.trainable="adapters" training.min-nodes=2 training.rounds=1 '
            "training.cohort=5.0 local.processor-seconds=60.0 training.round-deadline-seconds=600.0 "
            'privacy.population-name="ward"'
        )
        app = staged_app(own / "pretrained-app")
        command = (tool("flwr"), "run", str(app), "--run-config", config, "--stream")
        said = superlink.run(*command, seconds=240).stdout
        return [said, *(one.log("clientapp")[n:] for one, n in zip((north, south), before, strict=True))]

    secret = ("--superexec-auth-secret-file", own / "superexec.secret")
    with executor(superlink, "pretrained", 8000, "--root-certificates", own / "ca.crt", *secret):
        yield run


def test_only_adapters_of_a_pre_trained_model_travel(run_of, sites, copies):
    server_log, *_ = run_of(WHISPER)
    run_folder = sites[0].folder / "runs" / "latest"
    assert rounds_answered(run_folder) == [(2, 2)], server_log
    config = config_of_run(run_folder)
    model = starting_model(config.model.model_copy(update={"name": str(copies)}), "en")
    freeze(model, config.model.trained)
    layout = layout_of(model)
    lines = [json.loads(line) for line in (run_folder / "traffic.jsonl").read_text().splitlines()]
    nodes = sorted((line for line in lines if "node" in line), key=lambda line: line["bytes_up"])
    for line, speakers in zip(nodes, (2, 3), strict=True):
        packed = packed_bytes(speakers, *make_bounds(config.privacy, layout))
        assert packed < line["bytes_up"] < 1.2 * packed
        assert 4 * layout.size < line["bytes_down"] < 1.2 * 4 * layout.size
        weights = (copies / "model.safetensors").stat().st_size
        assert line["bytes_down"] + line["bytes_up"] < weights / 5


def test_another_copy_of_a_pre_trained_model_is_refused_at_registration(run_of):
    """Both nodes have another copy than the server, in the store and by `base-model`."""
    for log in run_of(RETRAINED):
        assert "the parameters that are not trained are not those of the server: copy the folder" in log
        assert f"to this node and name it, {BASE_MODEL} (model.name = {RETRAINED!r})" in log
