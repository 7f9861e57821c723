"""`murmur deploy`: what it makes is what Flower, gRPC and a TLS stack accept, and nothing gets lost."""

import socket
import ssl
import stat
import threading

import pytest
from cryptography import x509
from flwr.cli.constant import DEFAULT_FLOWER_CONFIG_TOML
from flwr.cli.flower_config import read_superlink_connection
from flwr.cli.supernode.register import try_load_public_key
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.cli.flower_supernode import _try_setup_client_authentication as flower_reads
from typer.testing import CliRunner

from cli.deploy import command as deploy
from cli.deploy.credentials import CredentialError
from cli.main import app


def murmur(*arguments):
    return CliRunner().invoke(app, ["deploy", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "credentials"
    assert murmur("ca", "--folder", made).exit_code == 0
    done = murmur("server-cert", "localhost", "127.0.0.1", "::1", "--folder", made)
    assert done.exit_code == 0, done.output
    return made


def handshake(folder, server_name, authority):
    """A real TLS handshake over a socket pair; raises what the client's checks raise."""
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(folder / "server.crt", folder / "server.key")
    trusting = ssl.create_default_context(cafile=authority)
    near, far = socket.socketpair()

    def serve():
        try:
            serving.wrap_socket(far, server_side=True).close()
        except (ssl.SSLError, OSError):
            far.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with trusting.wrap_socket(near, server_hostname=server_name) as client:
            return client.version()
    finally:
        near.close()
        thread.join()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_the_certificate_stands_for_each_of_its_names(folder, name):
    assert handshake(folder, name, folder / "ca.crt") == "TLSv1.3"


def test_the_certificate_stands_for_no_other_name(folder):
    with pytest.raises(ssl.SSLCertVerificationError, match="example"):
        handshake(folder, "example.org", folder / "ca.crt")


def test_another_authority_is_not_believed(folder, tmp_path):
    murmur("ca", "--folder", tmp_path / "other")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(folder, "localhost", tmp_path / "other" / "ca.crt")


def test_an_authority_signs_servers_only_and_outlives_its_certificates(tmp_path):
    murmur("ca", "--folder", tmp_path, "--days", 2)
    murmur("server-cert", "a.example", "--folder", tmp_path, "--days", 300)
    authority, server = (
        x509.load_pem_x509_certificate((tmp_path / f"{name}.crt").read_bytes()) for name in ("ca", "server")
    )
    limits = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (limits.ca, limits.path_length) == (True, 0)
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert server.not_valid_after_utc <= authority.not_valid_after_utc


def test_flower_reads_both_halves_of_a_node_key(tmp_path):
    assert murmur("node-key", "clinic-a", "clinic-b", "--folder", tmp_path).exit_code == 0

    class Arguments:
        auth_supernode_private_key = str(tmp_path / "clinic-a.key")
        auth_supernode_public_key = None

    private, public = flower_reads(Arguments)
    assert private.curve.name == "secp384r1"
    registered = try_load_public_key(tmp_path / "clinic-a.pub")
    assert registered == public_key_to_bytes(public)
    assert registered != try_load_public_key(tmp_path / "clinic-b.pub")


def test_private_files_are_the_owners_alone(folder):
    murmur("node-key", "n", "--folder", folder)
    murmur("secret", "--folder", folder)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    private = {"ca.key", "server.key", "n.key", "superexec.secret"}
    assert {name for name, mode in modes.items() if mode == 0o600} == private
    assert set(modes) == private | {"ca.crt", "server.crt", "n.pub"}
    assert len((folder / "superexec.secret").read_text()) == 64


@pytest.mark.parametrize("arguments", [["ca"], ["server-cert", "localhost"], ["node-key", "n"], ["secret"]])
def test_nothing_is_overwritten(folder, arguments):
    murmur(*arguments, "--folder", folder)
    before = {file: file.read_bytes() for file in folder.iterdir()}
    done = murmur(*arguments, "--folder", folder)
    assert done.exit_code == 2
    assert "is there already and is not overwritten" in done.output
    assert {file: file.read_bytes() for file in folder.iterdir()} == before


def test_no_private_half_is_made_for_a_public_file_that_is_there(tmp_path):
    (tmp_path / "n.pub").write_text("someone's")
    assert murmur("node-key", "n", "--folder", tmp_path).exit_code == 2
    assert [file.name for file in tmp_path.iterdir()] == ["n.pub"]


def test_no_private_half_stays_where_the_public_one_cannot_be_written(tmp_path):
    (tmp_path / "n.pub").symlink_to("nowhere")
    done = murmur("node-key", "n", "--folder", tmp_path)
    assert done.exit_code == 2 and "n.pub is there already" in done.output
    assert [file.name for file in tmp_path.iterdir()] == ["n.pub"]


@pytest.mark.parametrize("name", ["https://a.example", "a.example:9092", "300.1.1.1", "a b", "", "-a"])
def test_a_name_that_no_client_could_check_is_refused(folder, name):
    done = murmur("server-cert", "--folder", folder, "--out", "second", "--", name)
    assert done.exit_code == 2
    assert "neither a DNS name nor an IP address" in done.output
    assert not (folder / "second.key").exists()


@pytest.mark.parametrize("name", ["", "x" * 65])
def test_an_authority_has_a_name_that_fits(tmp_path, name):
    done = murmur("ca", "--folder", tmp_path, "--name", name)
    assert done.exit_code == 2 and f"1 to 64 characters, and this one {len(name)}" in done.output


def test_a_renewed_certificate_has_the_same_names_and_the_old_pair_is_kept(folder):
    before = {name: (folder / name).read_bytes() for name in ("server.crt", "server.key")}
    old = x509.load_pem_x509_certificate(before["server.crt"])
    assert murmur("renew", "--folder", folder).exit_code == 0
    new = x509.load_pem_x509_certificate((folder / "server.crt").read_bytes())
    names = x509.SubjectAlternativeName
    assert new.extensions.get_extension_for_class(names) == old.extensions.get_extension_for_class(names)
    assert new.public_key() != old.public_key() and new.issuer == old.issuer
    for file, content in before.items():
        stem, ending = file.split(".")
        kept = folder / f"{stem}-until-{old.not_valid_after_utc:%Y-%m-%d}.{ending}"
        assert kept.read_bytes() == content
    assert stat.S_IMODE((folder / "server.key").stat().st_mode) == 0o600
    again = murmur("renew", "--folder", folder, "--name", "absent")
    assert again.exit_code == 2 and "server-cert" in again.output
    handshake(folder, "127.0.0.1", folder / "ca.crt")


def test_the_authoritys_key_opens_by_its_passphrase_alone(tmp_path):
    for name, words in (("right", "four words of sense\n"), ("wrong", "another\n"), ("empty", "\n")):
        (tmp_path / name).write_text(words)
    assert murmur("ca", "--folder", tmp_path, "--passphrase-file", tmp_path / "right").exit_code == 0
    assert b"ENCRYPTED" in (tmp_path / "ca.key").read_bytes()
    for given in ([], ["--passphrase-file", tmp_path / "wrong"], ["--passphrase-file", tmp_path / "empty"]):
        done = murmur("server-cert", "localhost", "--folder", tmp_path, *given)
        assert done.exit_code == 2 and "passphrase" in done.output, done.output
    right = ("--passphrase-file", tmp_path / "right")
    assert murmur("server-cert", "localhost", "--folder", tmp_path, *right).exit_code == 0
    assert murmur("renew", "--folder", tmp_path, *right).exit_code == 0


def test_a_missing_or_foreign_authority_is_named(folder, tmp_path):
    done = murmur("server-cert", "a.example", "--folder", tmp_path / "nowhere")
    assert done.exit_code == 2
    assert "ca.crt" in done.output and "murmur deploy ca" in done.output
    murmur("ca", "--folder", tmp_path / "other")
    (folder / "ca.key").write_bytes((tmp_path / "other" / "ca.key").read_bytes())
    done = murmur("server-cert", "a.example", "--folder", folder, "--out", "second")
    assert "not the key of ca.crt" in done.output


@pytest.fixture
def connected(folder):
    assert murmur("connection", "127.0.0.1:9", "--folder", folder, "--name", "here").exit_code == 0


def test_flower_reads_the_connection(folder):
    assert murmur("connection", "[::1]:8000", "--folder", folder, "--name", "my-place_2").exit_code == 0
    read = read_superlink_connection()
    assert (read.name, read.address, read.insecure) == ("my-place_2", "[::1]:8000", False)
    assert read.root_certificates == str(folder / "ca.crt")


@pytest.mark.parametrize(
    "arguments",
    [
        ("a.example:8000", "--name", "clinic.a"),
        ("a.example:8000", "--name", 'my "place"'),
        ("a.example:8000", "--name", "default"),
        ("nonsense",),
        ("http://x",),
        ("http://x:8000",),
        ("::1:8000",),
        ("x:80000",),
    ],
)
def test_a_connection_that_flower_could_not_use_is_not_written(folder, tmp_path, arguments):
    done = murmur("connection", *arguments, "--folder", folder)
    assert done.exit_code == 2 and repr(arguments[-1]) in done.output
    assert not (tmp_path / "flwr").exists()


@pytest.mark.parametrize("command", [("register", "{}/n.pub"), ("revoke", "42"), ("run",)])
@pytest.mark.parametrize("config", [None, DEFAULT_FLOWER_CONFIG_TOML, "[superlink]\n", "nonsense"])
def test_no_local_superlink_stands_in_for_the_deployments(tmp_path, monkeypatch, command, config):
    monkeypatch.setattr(deploy, "_flwr", lambda *_: pytest.fail("it went out"))
    murmur("node-key", "n", "--folder", tmp_path)
    if config is not None:
        (tmp_path / "flwr").mkdir()
        (tmp_path / "flwr" / "config.toml").write_text(config)
    done = murmur(*(word.format(tmp_path) for word in command))
    assert done.exit_code == 2, done.output
    assert str(tmp_path / "flwr" / "config.toml") in done.output and "murmur deploy connection" in done.output


def test_a_key_is_not_registered_where_its_number_cannot_be_noted(tmp_path, connected, monkeypatch):
    monkeypatch.setattr(deploy, "_flwr", lambda *_: pytest.fail("it went out"))
    murmur("node-key", "n", "--folder", tmp_path)
    (tmp_path / "n.id").mkdir()
    done = murmur("register", tmp_path / "n.pub")
    assert done.exit_code == 2 and "n.id, where the node's number is noted, cannot be written" in done.output


def test_a_private_key_is_not_registered_by_mistake(tmp_path, monkeypatch):
    murmur("node-key", "n", "--folder", tmp_path)
    monkeypatch.setattr(deploy, "_flwr", lambda *_: pytest.fail("it went out"))
    done = murmur("register", tmp_path / "n.key")
    assert done.exit_code == 2
    assert "is a private key" in done.output


def test_register_notes_the_number_that_revoke_needs(tmp_path, connected, monkeypatch):
    asked = []
    monkeypatch.setattr(deploy, "_flwr", lambda *words: asked.append(words) or {"node-id": "42"})
    murmur("node-key", "n", "--folder", tmp_path)
    assert "node 42" in murmur("register", tmp_path / "n.pub", "--superlink", "here").output
    assert murmur("revoke", tmp_path / "n.pub", "--superlink", "here").exit_code == 0
    assert asked == [
        ("supernode", "register", str(tmp_path / "n.pub"), "here", "--name", "n"),
        ("supernode", "unregister", "42", "here"),
    ]
    assert "number of" in murmur("revoke", tmp_path / "n.pub").output
    again = murmur("register", tmp_path / "n.pub")
    assert again.exit_code == 2 and "n.pub was revoked, for good: make a new key" in again.output
    assert len(asked) == 2


def test_a_key_that_is_known_already_does_not_keep_the_others_out(tmp_path, connected, monkeypatch):
    """A register that was ended half-way is run again, by a person or by compose."""

    def flwr(*words):
        if words[2].endswith("a.pub"):
            raise CredentialError("`flwr supernode register` failed: Public key already in use.")
        return {"node-id": "42"}

    monkeypatch.setattr(deploy, "_flwr", flwr)
    murmur("node-key", "a", "b", "--folder", tmp_path)
    done = murmur("register", tmp_path / "a.pub", tmp_path / "b.pub")
    assert done.exit_code == 0
    assert "a: its key was registered before" in done.output and "b: registered as node 42" in done.output
    assert (tmp_path / "b.id").exists() and not (tmp_path / "a.id").exists()


def test_flowers_own_words_reach_the_person(tmp_path, monkeypatch):
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "flwr"))
    murmur("ca", "--folder", tmp_path)
    murmur("node-key", "n", "--folder", tmp_path)
    assert murmur("connection", "127.0.0.1:9", "--folder", tmp_path).exit_code == 0
    done = murmur("register", tmp_path / "n.pub")
    assert done.exit_code == 2
    assert "flwr supernode register" in done.output and "Traceback" not in done.output


def test_no_command_shows_a_secret_whichever_file_it_is_given(tmp_path):
    made = tmp_path / "credentials"
    done = [murmur("ca", "--folder", made), murmur("server-cert", "localhost", "--folder", made)]
    done += [murmur("node-key", "n", "--folder", made), murmur("secret", "--folder", made)]
    files = [made / name for name in ("ca.key", "server.key", "n.key", "superexec.secret")]
    for file in files:  # mistaken for each other, as tired people do
        done.append(murmur("register", file))
        for option in ("--authority", "--key"):
            given = {"--authority": str(made / "ca.crt"), option: str(file)}
            words = [word for pair in given.items() for word in pair]
            done.append(CliRunner().invoke(app, ["doctor", "--superlink", "127.0.0.1:1", *words]))
    shown = "".join(one.output for one in done)
    lines = {line for file in files for line in file.read_text().splitlines() if "-----" not in line}
    assert len(lines) > 12
    assert not [line for line in lines if line in shown]
