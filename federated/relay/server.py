"""The accepting end of the relay (the lab's): admits a peer only for a job that is expected from exactly it.

Owns the listening port. Scoring parts and released files are two unary calls beside the job sessions; what they answer
is decided by the node, here only the caller's certified name is added.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from federated.relay.link import Cause, PeerLink
from federated.relay.tls import Identity, grpc  # tls first: it sets the cipher policy before grpc loads
from models.channel import CONTROL, BadFrame, Frames

SERVICE = "creditlab.relay.v1.Relay"
SESSION, SCORE_PART, FETCH_RELEASE = "Session", "ScorePart", "FetchRelease"
MAX_MESSAGE = 256 << 20
KEEPALIVE = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
]

Answer = Callable[[str, dict], Awaitable[bytes]]


class PortTaken(OSError):
    """The relay's address is in use by another process."""


class Refused(Exception):
    """What a unary call may answer instead of a result: code and words for the caller."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.message)
        self.cause = cause


class RelayServer:
    """Listens, and hands an admitted session to whoever waits for it with `expect`."""

    def __init__(self, identity: Identity, listen: str) -> None:
        self._identity = identity
        self._listen = listen
        self._expected: dict[str, tuple[str, str, asyncio.Future[PeerLink]]] = {}
        self._answers: dict[str, Answer] = {}
        self._server: grpc.aio.Server | None = None

    async def start(self, score_part: Answer, fetch_release: Answer) -> None:
        """Opens the port. Raises PortTaken."""
        self._answers = {SCORE_PART: score_part, FETCH_RELEASE: fetch_release}
        options = [*KEEPALIVE, ("grpc.so_reuseport", 0)]
        server = grpc.aio.server(options=options)
        handlers = {
            SESSION: grpc.stream_stream_rpc_method_handler(self._session),
            SCORE_PART: grpc.unary_unary_rpc_method_handler(self._unary(SCORE_PART)),
            FETCH_RELEASE: grpc.unary_unary_rpc_method_handler(self._unary(FETCH_RELEASE)),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        try:
            bound = server.add_secure_port(self._listen, self._identity.server())
        except RuntimeError:
            bound = 0
        if bound == 0:
            raise PortTaken(f"the relay cannot listen on {self._listen}: the port is taken; free it or change `relay`")
        await server.start()
        self._server = server

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(grace=1)

    async def expect(self, job_id: str, ticket_digest: str, peer: str, seconds: float) -> PeerLink:
        """The link once `peer` dials in for this job and ticket. Raises TimeoutError after `seconds`."""
        future: asyncio.Future[PeerLink] = asyncio.get_running_loop().create_future()
        self._expected[job_id] = (ticket_digest, peer, future)
        try:
            return await asyncio.wait_for(future, seconds)
        finally:
            self._expected.pop(job_id, None)

    @staticmethod
    def _caller(context: grpc.aio.ServicerContext) -> str:
        names = context.auth_context().get("x509_common_name", [])
        return names[0].decode() if len(names) == 1 else ""

    def _unary(self, name: str) -> Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]:
        async def handle(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            try:
                message = json.loads(request)
            except ValueError:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not JSON")
            try:
                return await self._answers[name](self._caller(context), message)
            except Refused as error:
                detail = json.dumps(asdict(error.cause))  # ASCII: it travels in a header
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, detail)
                raise AssertionError("abort returns never") from error

        return handle

    async def _session(self, requests: object, context: grpc.aio.ServicerContext) -> None:
        caller = self._caller(context)
        first = await context.read()
        if first is grpc.aio.EOF:
            return
        try:
            ((kind, _, payload),) = Frames().feed(first)
            hello = json.loads(payload) if kind == CONTROL else {}
        except (BadFrame, ValueError):
            hello = {}
        expected = self._expected.get(str(hello.get("job_id", "")))
        if expected is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "this job is not expected here (yet)")
        ticket_digest, peer, future = expected
        if caller != peer or hello.get("ticket") != ticket_digest or future.done():
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED,
                f"the certificate names {caller!r}, the ticket another node",
            )
        link = PeerLink(peer)
        await link.send({"type": "welcome"})
        future.set_result(link)

        async def read() -> None:
            while (data := await context.read()) is not grpc.aio.EOF:
                link.received(data)

        await carry(link, read, context.write)


async def carry(link: PeerLink, read: Callable[[], Awaitable[None]], write: Callable[[bytes], Awaitable[None]]) -> None:
    """Moves frames until the link ends or the transport breaks; then says so in the link's cause."""

    async def drain() -> None:
        while True:
            frame = await link.outgoing.get()
            assert frame is not None
            await write(frame)

    reading, writing = asyncio.ensure_future(read()), asyncio.ensure_future(drain())
    lost = Cause("peer_lost", f"the connection to {link.peer} broke off", f"与 {link.peer} 的连接中断")
    try:
        await asyncio.wait({reading, writing, link.ended}, return_when=asyncio.FIRST_COMPLETED)
        if reading.done() and not reading.cancelled() and isinstance(reading.exception(), BadFrame):
            lost = Cause("bad_frame", f"{link.peer} sent bytes outside the protocol", f"{link.peer} 发送了协议外的数据")
        link.finish(lost)
        with contextlib.suppress(Exception):  # a last word may still be queued: give it a moment
            async with asyncio.timeout(2):
                while not link.outgoing.empty() and not writing.done():
                    await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        link.finish(lost)
        raise
    finally:
        for task in (reading, writing):
            task.cancel()
        await asyncio.gather(reading, writing, return_exceptions=True)
