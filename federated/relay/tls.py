"""Certificates of the relay and why a handshake failed, in words.

gRPC's Python API cannot name a minimum TLS version. Our certificates are elliptic-curve only, so admitting a single
RSA suite for TLS 1.2 leaves version 1.3 as the only handshake that can succeed; `tests/federated` proves it.
"""

from __future__ import annotations

import os

os.environ["GRPC_SSL_CIPHER_SUITES"] = "ECDHE-RSA-AES128-GCM-SHA256"  # before grpc is imported
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import asyncio
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
from cryptography import x509

AGAIN_SECONDS = 1.0


@dataclass(frozen=True)
class Identity:
    """PEM files of a node: the CA it trusts, its certificate (common name = node name) and its key."""

    ca: Path
    cert: Path
    key: Path

    def server(self) -> grpc.ServerCredentials:
        pair = (self.key.read_bytes(), self.cert.read_bytes())
        return grpc.ssl_server_credentials([pair], root_certificates=self.ca.read_bytes(), require_client_auth=True)

    def client(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.ca.read_bytes(), self.key.read_bytes(), self.cert.read_bytes())


async def explain(identity: Identity, host: str, port: int, peer: str) -> tuple[str, str, str]:
    """(code, message, message_zh): why `peer` at host:port cannot be reached, found by plain TLS handshakes."""
    found = await _probe(identity, host, port, peer)
    if found[0] == "own_certificate":
        # one that dies just now breaks off in the same way; who refuses us does so again
        await asyncio.sleep(AGAIN_SECONDS)
        found = await _probe(identity, host, port, peer)
    return found


async def _probe(identity: Identity, host: str, port: int, peer: str) -> tuple[str, str, str]:
    """As `explain`, by one handshake."""
    where = f"{peer} ({host}:{port})"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(identity.ca)
        context.load_cert_chain(identity.cert, identity.key)
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(host, port, ssl=context, server_hostname=peer), 5
        )
    except TimeoutError:
        return "peer_unreachable", f"{where} does not answer", f"{where} 无响应"
    except ssl.SSLCertVerificationError as error:
        why = error.verify_message
        return (
            "peer_certificate",
            f"the certificate of {where} is refused: {why}",
            f"{where} 的证书被拒绝：{why}",
        )
    except ssl.SSLEOFError:
        return "peer_unreachable", f"{where} broke off in the handshake", f"{where} 在握手中断开"
    except ssl.SSLError as error:
        return (
            "tls_failed",
            f"TLS with {where} failed: {error.reason}",
            f"与 {where} 的 TLS 握手失败：{error.reason}",
        )
    except OSError as error:
        return (
            "peer_unreachable",
            f"nothing answers at {where}: {error.strerror or error}",
            f"{where} 无法连接",
        )
    reason = ""
    try:
        # a gRPC server speaks first; TLS 1.3 refuses our certificate only after its own part of the handshake
        if await asyncio.wait_for(reader.read(1), 2):
            return "peer_unreachable", f"{where} broke off, the network between works", f"{where} 中断了连接"
    except TimeoutError:
        return "peer_unreachable", f"{where} accepted the connection but does not speak", f"{where} 已连接但无应答"
    except OSError as error:
        reason = (getattr(error, "reason", None) or "").replace("_", " ").lower()
    finally:
        writer.close()
    own = x509.load_pem_x509_certificate(identity.cert.read_bytes())
    if own.not_valid_after_utc < datetime.now(UTC):
        reason = f"expired at {own.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    elif own.not_valid_before_utc > datetime.now(UTC):
        reason = f"not valid before {own.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    reason = reason or "not of an authority that it trusts"
    return (
        "own_certificate",
        f"{where} refuses our certificate ({identity.cert.name}): {reason}",
        f"{where} 拒绝本节点证书（{identity.cert.name}）：{reason}",
    )
