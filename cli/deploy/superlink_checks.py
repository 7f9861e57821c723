"""`murmur doctor` on a SuperLink: its name and port, its certificate, and whether it admits a node's key."""

from __future__ import annotations

import socket
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from cli.deploy import probes
from cli.deploy.credentials import CredentialError, is_address
from cli.deploy.expiry import Term, left, term
from cli.deploy.finding import Finding

TIMEOUT_SECONDS = 8.0


def check_superlink(address: str, authority: Path | None, key: Path | None) -> Iterator[Finding]:
    """From the name to the key, each step only if the one before it holds."""
    host, _, port = address.rpartition(":")
    if not is_address(address):
        yield Finding("superlink", False, f"{address!r} is no address: write it as host:9092")
        return
    if authority is None:
        yield Finding(
            "superlink", False, "give --authority ca.crt, the file that the SuperLink's owner gave out"
        )
        return
    if fault := _unreadable(authority):
        yield Finding("superlink", False, f"{authority} {fault}: get ca.crt from the SuperLink's owner")
        return
    found = _handshake(host.strip("[]"), int(port), authority)
    yield found
    if (found.good or found.warning) and key is not None:  # a certificate that is due still serves
        yield _admitted(address, authority, key)


def check_certificate(file: Path) -> Finding:
    """How long a certificate on this disk is good."""
    part = f"certificate {file}"
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
    except OSError as error:
        return Finding(part, False, f"cannot be read ({error.strerror})")
    except ValueError:
        return Finding(part, False, "holds no certificate: bring back your copy, or make a new one")
    return _lasting(part, certificate)


def _unreadable(authority: Path) -> str:
    """What keeps a ca.crt from being used; empty if nothing does."""
    try:
        ssl.create_default_context(cafile=authority)
    except ssl.SSLError:
        return "holds no certificate"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return ""


def _handshake(host: str, port: int, authority: Path) -> Finding:
    part = f"superlink {host}:{port}"
    try:
        certificate = probes.certificate(host, port, authority)
    except ssl.SSLCertVerificationError as error:
        return Finding(part, False, f"its certificate is not good: {error.verify_message}. {_remedy(error)}")
    except ssl.SSLError as error:
        words = (
            f"no TLS there ({error.reason or error}): is it started with --insecure, or is this another port?"
        )
        return Finding(part, False, words)
    except socket.gaierror:
        return Finding(part, False, f"the name {host!r} is unknown: check its spelling, or the DNS")
    except (ConnectionRefusedError, TimeoutError, OSError) as error:
        words = (
            f"unreachable ({error.strerror or 'no answer'}): is it started, does the firewall pass {port}?"
        )
        return Finding(part, False, words)
    return _lasting(part, x509.load_der_x509_certificate(certificate))


def _lasting(part: str, certificate: x509.Certificate) -> Finding:
    words = f"certificate good until {certificate.not_valid_after_utc:%Y-%m-%d}"
    due = term(certificate)
    if due is Term.GOOD:
        return Finding(part, True, words)
    days = left(certificate).days
    words += f"; EXPIRES IN {days} DAYS" if days >= 0 else "; EXPIRED"
    words += ": `murmur deploy renew`, put it in place, restart SuperLink and proxy"
    return Finding(part, due is Term.SOON, words, warning=True)


def _remedy(error: ssl.SSLCertVerificationError) -> str:
    words = error.verify_message
    if "expired" in words:
        return "Make a new one: `murmur deploy renew`, and restart SuperLink and proxy"
    if "match" in words or "mismatch" in words:
        return "Make one with this name: `murmur deploy server-cert NAME ...`, or use a name that it has"
    return "Another authority made it: get the right ca.crt from the SuperLink's owner"


def _admitted(address: str, authority: Path, key: Path) -> Finding:
    from cli.deploy.admission import Admission, admission, load_node_key

    part = f"key {key.name}"
    try:
        loaded = load_node_key(key)
    except CredentialError as error:
        return Finding(part, False, str(error))
    if stat.S_IMODE(key.stat().st_mode) & 0o077:
        return Finding(part, False, f"others can read it: chmod 600 {key}, and think about a new one")
    verdict, words = admission(address, authority, loaded, TIMEOUT_SECONDS)
    if verdict is Admission.ADMITTED:
        return Finding(part, True, "admitted")
    if verdict is Admission.UNKNOWN:
        words = (
            f"not registered, or revoked: have `murmur deploy register {key.stem}.pub` run at the SuperLink"
        )
    return Finding(part, False, words)
