"""The dialling end of the relay (the bank's): one outbound connection carries both directions.

Owns the retry until the peer is ready and the explanation when it never is.
"""

from __future__ import annotations

import asyncio
import json
import time

from federated.relay.link import Cause, LinkEnded, PeerLink
from federated.relay.server import FETCH_RELEASE, KEEPALIVE, SCORE_PART, SERVICE, SESSION, Refused, carry
from federated.relay.tls import Identity, explain, grpc
from models.channel import encode_control


class RelayClient:
    """Dials one peer node, whose certificate must carry its name."""

    def __init__(self, identity: Identity, address: str, peer: str) -> None:
        self._identity = identity
        self._address = address
        self._peer = peer
        self._sessions: set[asyncio.Task] = set()

    def _channel(self) -> grpc.aio.Channel:
        options = [*KEEPALIVE, ("grpc.ssl_target_name_override", self._peer), ("grpc.enable_retries", 0)]
        return grpc.aio.secure_channel(self._address, self._identity.client(), options=options)

    async def _explain(self) -> LinkEnded:
        host, _, port = self._address.rpartition(":")
        return LinkEnded(Cause(*await explain(self._identity, host, int(port), self._peer)))

    async def dial(self, job_id: str, ticket_digest: str, seconds: float) -> PeerLink:
        """The link, once the peer admits us for this job. Raises LinkEnded with the cause after `seconds`."""
        deadline = time.monotonic() + seconds
        hello = encode_control({"type": "hello", "job_id": job_id, "ticket": ticket_digest})
        not_ready = False
        while True:
            channel = self._channel()
            call = channel.stream_stream(f"/{SERVICE}/{SESSION}")(timeout=None)
            try:
                async with asyncio.timeout(max(1.0, min(10.0, deadline - time.monotonic()))):
                    await call.write(hello)
                    first = await call.read()
                if first is grpc.aio.EOF:
                    raise grpc.aio.AioRpcError(
                        await call.code(), await call.initial_metadata(), await call.trailing_metadata(),
                        await call.details(),
                    )  # fmt: skip
                return self._serve(channel, call, first)
            except (TimeoutError, grpc.aio.AioRpcError) as error:
                code = error.code() if isinstance(error, grpc.aio.AioRpcError) else None
                details = (error.details() or "") if isinstance(error, grpc.aio.AioRpcError) else ""
                call.cancel()
                await channel.close()
                if code == grpc.StatusCode.PERMISSION_DENIED:
                    zh = f"{self._peer} 拒绝了本节点"
                    raise LinkEnded(Cause("peer_refused", f"{self._peer} refused us: {details}", zh)) from error
                not_ready = "not expected" in details
                if not not_ready:
                    explained = await self._explain()
                    if explained.cause.code != "peer_unreachable" or time.monotonic() >= deadline:
                        raise explained from error
            if time.monotonic() >= deadline:
                raise LinkEnded(
                    Cause(
                        "peer_absent",
                        f"{self._peer} answers but never took up this job",
                        f"{self._peer} 在线但未受理本作业",
                    )
                )
            await asyncio.sleep(0.5)

    def _serve(self, channel: grpc.aio.Channel, call: grpc.aio.StreamStreamCall, first: bytes) -> PeerLink:
        link = PeerLink(self._peer)
        link.received(first)
        link.messages.get_nowait()  # the welcome

        async def read() -> None:
            while (data := await call.read()) is not grpc.aio.EOF:
                link.received(data)

        async def session() -> None:
            try:
                await carry(link, read, call.write)
            finally:
                call.cancel()
                await channel.close()

        task = asyncio.ensure_future(session())
        self._sessions.add(task)
        task.add_done_callback(self._sessions.discard)
        return link

    async def _unary(self, method: str, message: dict, seconds: float) -> bytes:
        async with self._channel() as channel:
            try:
                return await channel.unary_unary(f"/{SERVICE}/{method}")(json.dumps(message).encode(), timeout=seconds)
            except grpc.aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.PERMISSION_DENIED:
                    try:
                        raise Refused(Cause(**json.loads(error.details() or ""))) from error
                    except (ValueError, TypeError):
                        pass
                raise await self._explain() from error

    async def score_part(self, request: dict, seconds: float) -> dict:
        """The peer's part of one score. Raises Refused or LinkEnded."""
        return json.loads(await self._unary(SCORE_PART, request, seconds))

    async def fetch_release(self, request: dict, seconds: float) -> bytes:
        """The bytes of a released model file. Raises Refused or LinkEnded."""
        return await self._unary(FETCH_RELEASE, request, seconds)
