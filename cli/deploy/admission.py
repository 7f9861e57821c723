"""Is a node's key admitted? Asked of the SuperLink over its own gRPC API, without a trace.

The question is an activation with an impossible heartbeat interval. Flower looks the key up before it
refuses the interval: an unknown or revoked key gets one answer, an admitted one the other, and no node
is activated, so a SuperNode that runs with the same key is not disturbed.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path

import grpc
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.client.grpc_rere_client.node_auth_client_interceptor import NodeAuthClientInterceptor
from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.proto.fleet_pb2_grpc import FleetStub
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.runtime_version_compatibility import RuntimeVersionMetadata

from cli.deploy.credentials import CredentialError

IMPOSSIBLE_INTERVAL = 0.0
OTHER_VERSION = "this Flower and the SuperLink's do not go together: install the same release on both"


class Admission(Enum):
    """What a SuperLink says to a key."""

    ADMITTED = "admitted"
    UNKNOWN = "unknown"
    REFUSED = "refused"
    OTHER_VERSION = "other version"


def load_node_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """A SuperNode's private key.

    Raises:
        CredentialError: If it cannot be read, or Flower would not take it.
    """
    try:
        key = load_ssh_private_key(path.read_bytes(), None)
    except OSError as error:
        raise CredentialError(
            f"{path} cannot be read: {error.strerror}; `murmur deploy node-key` makes one"
        ) from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CredentialError(
            f"{path} is no ECDSA private key in OpenSSH's format: `murmur deploy node-key` makes one"
        )
    return key


def admission(
    address: str, authority: Path, key: ec.EllipticCurvePrivateKey, seconds: float
) -> tuple[Admission, str]:
    """What the SuperLink at `address` says to `key`, and its words."""
    credentials = grpc.ssl_channel_credentials(authority.read_bytes())
    # Flower's own interceptor for the release ends the process, by a timer even, if they do not go together.
    release = RuntimeVersionMetadata.from_local_component("SuperNode").append_to_grpc_metadata(None)
    request = ActivateNodeRequest(
        public_key=public_key_to_bytes(key.public_key()), heartbeat_interval=IMPOSSIBLE_INTERVAL
    )
    with grpc.secure_channel(address, credentials) as channel:
        try:
            signed = grpc.intercept_channel(channel, NodeAuthClientInterceptor(key, key.public_key()))
            FleetStub(signed).ActivateNode(request, timeout=seconds, metadata=release)
        except grpc.RpcError as error:
            return _read(str(error.details()) if isinstance(error, grpc.Call) else str(error))
    return Admission.REFUSED, "the SuperLink accepted what it should not"


def _read(details: str) -> tuple[Admission, str]:
    error = FlowerError.from_json(details)
    if error is None:
        return Admission.REFUSED, details
    words = " ".join(filter(None, (error.message, error.public_details)))
    if error.code == ApiErrorCode.FLEET_INVALID_HEARTBEAT_INTERVAL:
        return Admission.ADMITTED, ""
    if error.code == ApiErrorCode.RUNTIME_VERSION_INCOMPATIBLE:
        return Admission.OTHER_VERSION, f"{OTHER_VERSION} ({words})"
    if error.code == ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED:
        return Admission.UNKNOWN, words
    return Admission.REFUSED, words
