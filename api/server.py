"""`creditlab serve`: from a folder to a serving process, and back to nothing left running."""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
import uvloop

from api import migrations, platform_keys
from api.auth import new_token
from api.control import Control, utc_now
from api.db import Database
from api.embedded import EmbeddedPostgres
from api.home import Home, HomeError, only_one, write_private
from api.hub import Hub
from api.platform_secret import PlatformSecret
from api.settings import Settings
from api.web.heads import BoundedHeads

if TYPE_CHECKING:
    from api.flows.runtime import Flows

log = logging.getLogger("creditlab.serve")

GRACE_SECONDS = 8
_LAST_SECONDS = 1.0


@contextmanager
def database(settings: Settings, home: Home) -> Iterator[Database]:
    """The migrated database: embedded unless an address is configured."""
    embedded = None if settings.database_url else EmbeddedPostgres(home.postgres)
    if embedded is not None:
        embedded.start()
    try:
        db = Database(settings.database_url or embedded.url, utc_now)  # type: ignore[union-attr]
        try:
            migrations.upgrade(db.owner)
            yield db
        finally:
            db.dispose()
    finally:
        if embedded is not None:
            embedded.stop()


def bind(settings: Settings) -> socket.socket:
    """A socket with our address, before anything else is started; it listens when all is ready.

    Raises HomeError when the address cannot be had.
    """
    sock: socket.socket | None = None
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        family, kind, proto, _, address = found[0]
        # with the protocol named asyncio sends small answers at once; without it each waits 40 ms for its client
        sock = socket.socket(family, kind, proto)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        return sock
    except OSError as error:
        if sock is not None:
            sock.close()
        where = f"{settings.host}:{settings.port}"
        raise HomeError(
            f"cannot listen on {where} ({error.strerror}): choose another with --host and --port",
            f"无法监听 {where}（{error.strerror}）：请用 --host 与 --port 另选地址",
        ) from error


def operator_token(home: Home) -> str:
    """The operator's token, made on first run."""
    if not home.operator_token.exists():
        write_private(home.operator_token, new_token().encode() + b"\n")
    return home.operator_token.read_text().strip()


def worker_name(home: Home) -> str:
    """This folder's name among the workers on one database, made on first run and kept."""
    if not home.worker.exists():
        write_private(home.worker, f"w-{secrets.token_hex(6)}\n".encode())
    return home.worker.read_text().strip()


@contextmanager
def running(flows: Flows) -> Iterator[None]:
    flows.launch()
    try:
        yield
    finally:
        flows.close()


class _Server(uvicorn.Server):
    """Releases the long polls at the signal, so that a graceful stop does not wait for them."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._hub.close()
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            for server in self.servers:
                for sock in server.sockets:
                    address = sock.getsockname()
                    log.info("serving on https://%s:%s", address[0], address[1])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        reaper = asyncio.create_task(self._cut_idle_connections())
        await super().shutdown(sockets=sockets)
        reaper.cancel()

    async def _cut_idle_connections(self) -> None:
        """Once no request runs, what is left are kept-alive connections whose clients may never say goodbye.

        One whose answer is still on its way has a second to take it: a client that is gone never will.
        """
        loop = asyncio.get_running_loop()
        quiet_since: float | None = None
        while True:
            await asyncio.sleep(0.05)
            if self.server_state.tasks:
                quiet_since = None
                continue
            quiet_since = loop.time() if quiet_since is None else quiet_since
            for connection in list(self.server_state.connections):
                transport = connection.transport
                if transport is None:
                    continue
                if transport.get_write_buffer_size() == 0 or loop.time() - quiet_since > _LAST_SECONDS:
                    transport.abort()


def _tls(config: uvicorn.Config, home: Home) -> None:
    config.load()
    assert config.ssl is not None
    config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3


def serve(settings: Settings) -> int:
    """Serves until SIGTERM or SIGINT. Returns the exit code. Raises HomeError or PostgresFailed."""
    home = Home(settings.home)
    home.check_certificates()
    with only_one(home):
        starting = True

        def stop(number: int, _frame: FrameType | None) -> None:
            # while starting, leave through the finally clauses; afterwards uvicorn has handled the signal itself
            # and only raises it once more when it is done
            if starting:
                raise SystemExit(128 + number)

        previous = {s: signal.signal(s, stop) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            keys = platform_keys.load(
                home, suite=settings.suite, platform=settings.platform, days=settings.key_days, now=utc_now()
            )
            secret = PlatformSecret.load(home)
            if (left := keys.days_left(utc_now())) < platform_keys.WARN_DAYS:
                log.warning("the platform's key runs out in %.0f days: run creditlab keyring rotate", left)
            with bind(settings) as sock, database(settings, home) as db:
                # all the routes: seconds to load, and not before whatever may be wrong was looked at
                from api.app import create_app
                from api.flows.runtime import Flows
                from api.institutions.service import install_operator

                hub = Hub(db.conninfo)
                control = Control(settings, db, keys.key, hub, keys.keyring, secret)
                install_operator(control, operator_token(home))
                app = create_app(control)
                config = uvicorn.Config(
                    app,
                    http=BoundedHeads,
                    ssl_certfile=str(home.certificate),
                    ssl_keyfile=str(home.certificate_key),
                    log_level="warning",
                    access_log=False,
                    timeout_graceful_shutdown=GRACE_SECONDS,
                    server_header=False,
                )
                try:
                    _tls(config, home)
                except (ssl.SSLError, OSError) as error:
                    raise HomeError(
                        f"{home.certificate} and its key cannot be used ({error}): issue them again",
                        f"{home.certificate} 或其私钥不可用（{error}）：请重新签发",
                    ) from error
                server = _Server(config, hub)
                with running(Flows(control, worker_name(home))):
                    starting = False
                    # what stands now stands until the end: never looked through again while requests wait
                    gc.collect()
                    gc.freeze()
                    uvloop.run(server.serve(sockets=[sock]))
                return 0 if server.started else 1
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
