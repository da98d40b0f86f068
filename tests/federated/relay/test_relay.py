"""Two real ends of the relay over TLS on loopback: who is let in, what crosses, how it ends (R48, R61)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from enclave.pki import create_ca, issue
from federated.relay.client import RelayClient
from federated.relay.link import Cause, LinkEnded, PeerLink
from federated.relay.server import PortTaken, Refused, RelayServer
from federated.relay.tls import Identity, explain
from models.channel import DATA, OPEN


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def pki(tmp_path: Path) -> Callable[..., Identity]:
    create_ca(tmp_path)

    def identity(name: str, **options: object) -> Identity:
        cert, key = issue(tmp_path, name, ["127.0.0.1"], tmp_path / name, **options)
        return Identity(tmp_path / name / "ca.crt", cert, key)

    return identity


async def nothing(caller: str, request: dict) -> bytes:
    raise Refused(Cause("no", f"not for {caller}", "不可以"))


def run(body: Callable[[RelayServer, str], Awaitable[None]], lab: Identity) -> None:
    async def main() -> None:
        address = f"127.0.0.1:{free_port()}"
        server = RelayServer(lab, address)
        await server.start(nothing, nothing)
        try:
            async with asyncio.timeout(40):
                await body(server, address)
        finally:
            await server.stop()

    asyncio.run(main())


async def connect(server: RelayServer, address: str, bank: Identity) -> tuple[PeerLink, PeerLink]:
    client = RelayClient(bank, address, "lab")
    return await asyncio.gather(server.expect("j-1", "digest", "bank", 10), client.dial("j-1", "digest", 10))


def test_both_directions_cross_one_connection_and_every_byte_is_metered(pki: Callable[..., Identity]) -> None:
    async def body(server: RelayServer, address: str) -> None:
        lab, bank = await connect(server, address, pki("bank"))
        await bank.send({"type": "gate", "seq": 3})
        await lab.send_frame(OPEN, 2, b"\x52\x08")
        await lab.send_frame(DATA, 2, b"x" * 300_000)
        await bank.send_blob("result", b"r" * 2_000_000)
        assert (await lab.messages.get())["seq"] == 3
        assert await bank.engine_frames.get() == (OPEN, 2, b"\x52\x08")
        assert await bank.engine_frames.get() == (DATA, 2, b"x" * 300_000)
        assert await lab.blob("result", 10) == b"r" * 2_000_000
        assert bank.sent_bytes == lab.received_bytes > 2_000_000
        # the welcome is the one frame that the dialling side took in before the meter of the test looked
        assert lab.sent_bytes == bank.received_bytes > 300_000

    run(body, pki("lab"))


def test_the_end_and_its_cause_reach_the_peer(pki: Callable[..., Identity]) -> None:
    async def body(server: RelayServer, address: str) -> None:
        lab, bank = await connect(server, address, pki("bank"))
        cause = Cause("cancelled", "the job was cancelled", "作业已取消")
        await lab.end(cause)
        assert await asyncio.wait_for(bank.ended, 10) == cause
        with pytest.raises(LinkEnded):
            await bank.send({"type": "x"})

    run(body, pki("lab"))


def test_another_node_is_not_let_into_a_job(pki: Callable[..., Identity]) -> None:
    async def body(server: RelayServer, address: str) -> None:
        waiting = asyncio.ensure_future(server.expect("j-1", "digest", "bank", 5))
        await asyncio.sleep(0)
        with pytest.raises(LinkEnded) as ended:
            await RelayClient(pki("other-bank"), address, "lab").dial("j-1", "digest", 5)
        assert ended.value.cause.code == "peer_refused"
        with pytest.raises(LinkEnded) as ended:
            await RelayClient(pki("bank"), address, "lab").dial("j-1", "another ticket", 5)
        assert ended.value.cause.code == "peer_refused"
        with pytest.raises(TimeoutError):
            await waiting

    run(body, pki("lab"))


def test_an_expired_certificate_is_named_as_such(pki: Callable[..., Identity]) -> None:
    expired = pki("bank", not_before=datetime.now(UTC) - timedelta(days=9), days=1)

    async def body(server: RelayServer, address: str) -> None:
        with pytest.raises(LinkEnded) as ended:
            await RelayClient(expired, address, "lab").dial("j-1", "digest", 5)
        assert ended.value.cause.code == "own_certificate"
        assert "expired" in ended.value.cause.message

    run(body, pki("lab"))


def test_a_certificate_of_another_authority_is_refused(pki: Callable[..., Identity], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    create_ca(tmp_path / "other")
    cert, key = issue(tmp_path / "other", "bank", [], tmp_path / "other")
    stranger = Identity(tmp_path / "ca.crt", cert, key)

    async def body(server: RelayServer, address: str) -> None:
        with pytest.raises(LinkEnded) as ended:
            await RelayClient(stranger, address, "lab").dial("j-1", "digest", 5)
        assert ended.value.cause.code == "own_certificate"
        with pytest.raises(LinkEnded) as ended:
            await RelayClient(Identity(tmp_path / "other" / "ca.crt", cert, key), address, "lab").dial("j-1", "d", 5)
        assert ended.value.cause.code == "peer_certificate"

    run(body, pki("lab"))


def test_an_absent_peer_is_named_within_the_deadline(pki: Callable[..., Identity]) -> None:
    async def body(_server: RelayServer, _address: str) -> None:
        with pytest.raises(LinkEnded) as ended:
            await RelayClient(pki("bank"), f"127.0.0.1:{free_port()}", "lab").dial("j-1", "digest", 2)
        assert ended.value.cause.code == "peer_unreachable"

    run(body, pki("lab"))


def test_tls_1_2_is_refused_and_1_3_accepted(pki: Callable[..., Identity]) -> None:
    bank = pki("bank")

    def handshake(address: str, version: ssl.TLSVersion) -> str | None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = context.maximum_version = version
        context.load_verify_locations(bank.ca)
        context.load_cert_chain(bank.cert, bank.key)
        host, _, port = address.rpartition(":")
        with (
            socket.create_connection((host, int(port)), 5) as raw,
            context.wrap_socket(raw, server_hostname="lab") as secure,
        ):
            return secure.version()

    async def body(_server: RelayServer, address: str) -> None:
        assert await asyncio.to_thread(handshake, address, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.to_thread(handshake, address, ssl.TLSVersion.TLSv1_2)

    run(body, pki("lab"))


def test_a_taken_port_is_named(pki: Callable[..., Identity]) -> None:
    async def body(_server: RelayServer, address: str) -> None:
        with pytest.raises(PortTaken, match=address):
            await RelayServer(pki("lab2"), address).start(nothing, nothing)

    run(body, pki("lab"))


def test_a_refused_unary_call_carries_its_cause(pki: Callable[..., Identity]) -> None:
    async def body(_server: RelayServer, address: str) -> None:
        with pytest.raises(Refused) as refused:
            await RelayClient(pki("bank"), address, "lab").score_part({}, 5)
        assert refused.value.cause == Cause("no", "not for bank", "不可以")

    run(body, pki("lab"))


def test_a_peer_that_dies_in_the_handshake_does_not_make_our_certificate_a_bad_one(
    pki: Callable[..., Identity],
) -> None:
    """A break-off right after the handshake is what a refused certificate looks like; who refuses does so again."""
    lab, bank = pki("lab"), pki("bank")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(lab.cert, lab.key)

    async def main() -> tuple[str, str, str]:
        def die(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            server.close()
            writer.transport.abort()

        server = await asyncio.start_server(die, "127.0.0.1", 0, ssl=context)
        return await explain(bank, "127.0.0.1", server.sockets[0].getsockname()[1], "lab")

    assert asyncio.run(main())[0] == "peer_unreachable"
