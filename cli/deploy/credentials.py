"""Certificates, node keys and the SuperExec secret, in the formats that Flower 1.39 reads.

Guarantee: a private file has mode 0600 from its first byte; no file is ever overwritten (renewal keeps
the old pair under another name), and of a pair either both files are made or none.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY = "ca"
SECRET = "superexec.secret"
SECRET_BYTES = 32
MOST_DAYS = 7300
# A certificate made on one host is used at once on another, whose clock may be a little behind.
CLOCK_SLACK = datetime.timedelta(minutes=10)
LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?"
DNS_NAME = re.compile(rf"(?=.{{1,253}}$)(\*\.)?{LABEL}(\.{LABEL})*", re.IGNORECASE)
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class CredentialError(RuntimeError):
    """A credential that cannot be made, read or registered; the message says which, and what to do."""


def make_authority(folder: Path, *, name: str, days: int, passphrase: bytes | None = None) -> list[Path]:
    """Write ca.key and ca.crt: an authority that may sign servers and nothing below them.

    With a passphrase, ca.key is encrypted by it.

    Raises:
        CredentialError: If either is there already, or a certificate cannot have this name.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    try:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    except ValueError:
        raise CredentialError(
            f"--name {name!r}: the authority's name has 1 to 64 characters, and this one {len(name)}"
        ) from None
    certificate = (
        _certificate(subject, subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA384())
    )
    return write_pair(folder, AUTHORITY, ".crt", _pem(certificate), _pkcs8(key, passphrase))


def make_certificate(
    folder: Path, names: Sequence[str], *, name: str, days: int, passphrase: bytes | None = None
) -> list[Path]:
    """Write <name>.key and <name>.crt, a server certificate for `names`, signed by ca.key.

    Raises:
        CredentialError: If a name is neither a DNS name nor an IP address, the authority is missing or
            expired, or the certificate is there already.
    """
    alternatives = [_alternative(given) for given in names]
    authority, authority_key = _authority(folder, passphrase)
    key = ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    signed = (
        _certificate(subject, authority.subject, key.public_key(), days, authority.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
        )
        .sign(authority_key, hashes.SHA384())
    )
    return write_pair(folder, name, ".crt", _pem(signed), _pkcs8(key))


def renew_certificate(folder: Path, *, name: str, days: int, passphrase: bytes | None = None) -> list[Path]:
    """A new key and certificate for the names in <name>.crt; the old pair is kept as <name>-until-DATE.

    Guarantee: the old pair lies whole under its other name before one of its files is replaced.

    Raises:
        CredentialError: As `make_certificate`, or if the present pair cannot be read, or was renewed for the
            same date before.
    """
    present = folder / f"{name}.crt"
    try:
        certificate = x509.load_pem_x509_certificate(present.read_bytes())
        subject = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except OSError as error:
        raise CredentialError(f"{present}: {error.strerror}; `murmur deploy server-cert` makes one") from None
    except (ValueError, x509.ExtensionNotFound):
        raise CredentialError(
            f"{present} is no server's certificate: `murmur deploy server-cert` makes one"
        ) from None
    names = [
        *subject.get_values_for_type(x509.DNSName),
        *map(str, subject.get_values_for_type(x509.IPAddress)),
    ]
    kept = f"{name}-until-{certificate.not_valid_after_utc:%Y-%m-%d}"
    if any((folder / f"{kept}{ending}").exists() for ending in (".crt", ".key")):
        raise CredentialError(f"{kept} is there already and is not overwritten: move it away")
    made = make_certificate(folder, names, name=f"{name}-new", days=days, passphrase=passphrase)
    for ending in (".key", ".crt"):
        os.link(folder / f"{name}{ending}", folder / f"{kept}{ending}")
    for ending in (".key", ".crt"):
        (folder / f"{name}-new{ending}").replace(folder / f"{name}{ending}")
    return [file.with_name(f"{name}{file.suffix}") for file in made]


def make_node_key(folder: Path, name: str) -> list[Path]:
    """Write <name>.key and <name>.pub: a P-384 pair as OpenSSH writes it, which is how Flower reads it.

    Raises:
        CredentialError: If either is there already, or `name` is no file name.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return write_pair(folder, name, ".pub", public + f" {name}\n".encode(), private)


def make_secret(folder: Path) -> list[Path]:
    """Write superexec.secret: hexadecimal, no newline, since Flower takes the file's exact bytes."""
    return [write_new(folder / SECRET, secrets.token_hex(SECRET_BYTES).encode(), private=True)]


def check_public_key(path: Path) -> None:
    """Refuse what Flower would refuse, and above all a private key given by mistake.

    Raises:
        CredentialError: With the fault.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CredentialError(
            f"public key {path} cannot be read: {error.strerror}; give the .pub of `murmur deploy node-key`"
        ) from None
    if b"PRIVATE KEY" in content:
        raise CredentialError(f"{path} is a private key: it stays on its node; give the .pub beside it")
    try:
        key = serialization.load_ssh_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise CredentialError(
            f"{path} is no ECDSA public key in OpenSSH's format: `murmur deploy node-key` makes one"
        )


def is_address(address: str) -> bool:
    """Whether it is host:port, without a scheme; an IPv6 address stands in brackets."""
    host, _, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 2**16) or bracketed != (":" in host):
        return False
    try:
        _alternative(host[1:-1] if bracketed else host)
    except CredentialError:
        return False
    return True


def write_new(path: Path, content: bytes, *, private: bool) -> Path:
    """Write a file that must not exist yet.

    Raises:
        CredentialError: If it exists or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o644)
    except FileExistsError:
        raise CredentialError(
            f"{path} is there already and is not overwritten: move it away, or choose another name"
        ) from None
    except OSError as error:
        raise CredentialError(
            f"{path} cannot be written: {error.strerror}; choose another --folder"
        ) from None
    with os.fdopen(handle, "wb") as sink:
        sink.write(content)
    return path


def write_pair(folder: Path, name: str, ending: str, public: bytes, private: bytes) -> list[Path]:
    """Write <name>.key for its owner alone and <name><ending> for everybody: both, or none.

    Raises:
        CredentialError: If either is there already or cannot be written, or `name` is no file name.
    """
    if not FILE_NAME.fullmatch(name):
        raise CredentialError(f"{name!r} is no name: use letters, digits, '.', '-' and '_' only")
    secret, open_to_all = folder / f"{name}.key", folder / f"{name}{ending}"
    if open_to_all.exists():
        raise CredentialError(
            f"{open_to_all} is there already and is not overwritten: move it away, or choose another name"
        )
    write_new(secret, private, private=True)
    try:
        return [secret, write_new(open_to_all, public, private=False)]
    except CredentialError:
        secret.unlink()
        raise


def _authority(folder: Path, passphrase: bytes | None) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate((folder / f"{AUTHORITY}.crt").read_bytes())
        key = serialization.load_pem_private_key((folder / f"{AUTHORITY}.key").read_bytes(), passphrase)
    except OSError as error:
        raise CredentialError(
            f"{error.filename}: {error.strerror}; `murmur deploy ca --folder {folder}` makes an authority"
        ) from None
    except TypeError:  # a passphrase too few, or too many
        needed = "is" if passphrase is None else "is not"
        raise CredentialError(f"ca.key in {folder} {needed} encrypted: see --passphrase-file") from None
    except ValueError:
        if passphrase is not None:
            raise CredentialError(
                f"the passphrase does not open ca.key in {folder}, or it is damaged: give the "
                "--passphrase-file that it was made with, or bring back your copy"
            ) from None
        raise CredentialError(f"ca.crt or ca.key in {folder} is damaged: bring back your copy") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise CredentialError(
            f"ca.key in {folder} is not the key of ca.crt beside it: bring both back from one copy"
        )
    if certificate.not_valid_after_utc <= _now():
        raise CredentialError(
            f"ca.crt in {folder} expired at {certificate.not_valid_after_utc:%Y-%m-%d}: make a new authority "
            "in a new folder, and give its ca.crt to every node"
        )
    return certificate, key


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    days: int,
    latest: datetime.datetime | None = None,
) -> x509.CertificateBuilder:
    end = _now() + datetime.timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - CLOCK_SLACK)
        .not_valid_after(min(end, latest) if latest else end)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    looks_like_an_address = re.fullmatch(r"[0-9.]+", name)
    if looks_like_an_address or not DNS_NAME.fullmatch(name):
        raise CredentialError(
            f"{name!r} is neither a DNS name nor an IP address: give the bare names that nodes will use, "
            "without scheme and port, for example superlink.example.org 192.0.2.10"
        )
    return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pkcs8(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> bytes:
    locked = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
