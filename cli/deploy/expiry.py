"""How long a certificate has left, without torch: `python -m cli.deploy.expiry server.crt --days 30`.

The exit status is 0 if it is good for longer than that, and 1 if it is not, or cannot be read: for scripts
that renew. `murmur doctor` warns and fails by the same two bounds everywhere.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from enum import Enum
from pathlib import Path

from cryptography import x509

WARNING = datetime.timedelta(days=30)
FAULT = datetime.timedelta(days=7)


class Term(Enum):
    """What a certificate's remaining time asks of its owner."""

    GOOD = "good"
    SOON = "soon"
    DUE = "due"


def left(certificate: x509.Certificate) -> datetime.timedelta:
    """The time until its end; negative after it."""
    return certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)


def term(certificate: x509.Certificate) -> Term:
    """Due from 7 days before its end, soon from 30."""
    remaining = left(certificate)
    if remaining < FAULT:
        return Term.DUE
    return Term.SOON if remaining < WARNING else Term.GOOD


def main() -> int:
    """Whether the file's first certificate is good for longer than so many days, as an exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("certificate", type=Path)
    parser.add_argument("--days", type=int, default=WARNING.days)
    arguments = parser.parse_args()
    try:
        certificate = x509.load_pem_x509_certificate(arguments.certificate.read_bytes())
    except (OSError, ValueError) as error:
        print(f"{arguments.certificate}: {error}", file=sys.stderr)
        return 1
    return int(left(certificate) <= datetime.timedelta(days=arguments.days))


if __name__ == "__main__":
    sys.exit(main())
