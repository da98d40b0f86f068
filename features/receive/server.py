"""Serves the interface over TLS 1.3 with a client certificate from each caller.

Owns the socket, the TLS policy and who the caller is: the common name of the certificate that the handshake proved.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from features.catalogue.model import Catalogue
from features.ingest import Intake
from features.receive.app import create_app
from features.receive.desk import Desk
from features.receive.refused import SettingsRefused
from features.receive.settings import Settings
from features.receive.spool import Spool
from features.store import EventStore

log = logging.getLogger("creditlab.receive")

GRACE_SECONDS = 20
#: Connections at once, of all units.
_CONNECTIONS = 200


class _Named(H11Protocol):
    """Tells each request who holds the certificate of its connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state: dict[str, Any] = {**self.app_state, "unit": _holder(transport)}


def serve(settings: Settings, catalogue: Catalogue) -> None:
    """Serves until SIGTERM or SIGINT. Raises SettingsRefused."""
    if not (settings.store / "manifest").is_dir():
        raise SettingsRefused(
            "store_missing",
            f"{settings.store.name}: no event store; give the folder that holds `manifest`",
            f"{settings.store.name}：不是事件库，请指定含 `manifest` 的文件夹",
        )
    spool = Spool(settings.spool)
    with spool.alone(), _bound(settings) as sock:
        desk = Desk(
            Intake(EventStore(settings.store, catalogue)),
            spool,
            max_rows=settings.max_rows,
            max_bytes=settings.max_body_mb << 20,
            max_waiting=settings.max_waiting,
        )
        config = uvicorn.Config(
            create_app(settings, desk),
            http=_Named,
            ssl_certfile=settings.cert,
            ssl_keyfile=settings.key,
            ssl_ca_certs=str(settings.ca),
            ssl_cert_reqs=ssl.CERT_REQUIRED,
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        try:
            config.load()
        except (ssl.SSLError, OSError) as error:
            raise SettingsRefused(
                "receive_certificate",
                f"{settings.cert.name}, its key or {settings.ca.name} cannot be used ({error}); issue them again",
                f"{settings.cert.name}、私钥或 {settings.ca.name} 不可用（{error}），请重新签发",
            ) from None
        assert config.ssl is not None
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
        address = sock.getsockname()
        log.info("receiving on https://%s:%s", address[0], address[1])
        uvicorn.Server(config).run(sockets=[sock])


def _bound(settings: Settings) -> socket.socket:
    """Raises SettingsRefused."""
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        raise SettingsRefused(
            "receive_address",
            f"{settings.host}:{settings.port} cannot be listened on ({error.strerror}); name another address",
            f"无法监听 {settings.host}:{settings.port}（{error.strerror}），请另设地址",
        ) from None


def _holder(transport: asyncio.BaseTransport) -> str | None:
    """The one common name of the certificate that the peer proved to hold."""
    proved = transport.get_extra_info("ssl_object")
    subject = (proved.getpeercert() or {}).get("subject", ()) if proved else ()
    names = [value for part in subject for key, value in part if key == "commonName"]
    return names[0] if len(names) == 1 else None
