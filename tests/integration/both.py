"""Both parties' real job flows over a real relay in one process, so that the inputs of each sandbox can be seen."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from consent.keys import SigningKey
from consent.signed import verify
from consent.ticket import DEFAULT_DEADLINES, DEFAULT_EVALUATION, DEFAULT_PROTOCOL, make_ticket
from consent.times import stamp
from enclave import jobs as flows
from enclave import sandbox, vault
from enclave.gate import Consents
from enclave.jobs import Finished, Job
from enclave.journal import Journal
from enclave.pki import create_ca, issue
from enclave.platform_keys import PlatformKeys
from enclave.use_log import UseLog, load_key
from features.tables import load_side
from federated.relay.client import RelayClient
from federated.relay.server import RelayServer
from federated.relay.tls import Identity
from tests.consent.conftest import Maker
from tests.enclave.feeds import Feed
from tests.enclave.heads import Heads
from tests.integration.conftest import MARKER

PARTIES = ("bank", "lab")


class Kept:
    """An outbox that keeps the finished job instead of publishing it."""

    job: Finished | None = None

    async def publish(self, job: Finished) -> str:
        self.job = job
        return "0" * 64


@dataclass
class Seen:
    """What came of one job: the inputs of every sandbox, the finished job, and what each node has on record."""

    ticket: dict[str, Any]
    journals: dict[str, Journal]
    heads: dict[str, Heads]
    logs: dict[str, UseLog]
    outbox: Kept = field(default_factory=Kept)
    received: list[dict[str, bytes]] = field(default_factory=list)
    data_keys: list[bytes] = field(default_factory=list)

    def tables(self) -> list[pd.DataFrame]:
        """Every table that a sandbox was given, the sealed sample opened."""
        out = []
        for inputs in self.received:
            for name, data in inputs.items():
                if name == "bank.sealed":
                    assert MARKER.encode() not in data
                    bound = flows.ticket_digest(self.ticket).encode()
                    data = AESGCM(self.data_keys[0]).decrypt(data[:12], data[12:], bound)
                if name.endswith((".parquet", ".sealed")):
                    out.append(pd.read_parquet(io.BytesIO(data)))
        return out

    def ids(self) -> list[set[str]]:
        """Whose rows each of them holds."""
        return [set(table["ent_id" if "ent_id" in table.columns else "id"]) for table in self.tables()]


def ticket_of(sides: dict, key: SigningKey, mode: str, relay: str, zone_key: str, bank_columns: list[dict]) -> dict:
    now = datetime.now(UTC)
    document = make_ticket(
        key,
        job_id="j-000000000001",
        project="test",
        purpose="joint_training",
        mode=mode,
        recipe={"name": "boosting", "params": {"rounds": 4, "max_depth": 2}},
        dataset={
            "name": "tiny",
            "id": "ent_id",
            "as_of": None,
            "label": "bad",
            "split": {"column": "split", "train": "train", "test": "test"},
        },
        parties={
            "bank": {"institution": "bank_a", "node": "bank", "columns": bank_columns},
            "lab": {
                "institution": "lab",
                "node": "lab",
                "relay": relay,
                "zone_key": zone_key,
                "columns": list(sides["lab"].columns),
            },
        },
        evaluation={**DEFAULT_EVALUATION, "bootstrap": 20},
        protocol=DEFAULT_PROTOCOL,
        leaks="exclude",
        outputs=["report", "model"],
        deadlines=dict(DEFAULT_DEADLINES),
        issued_at=stamp(now - timedelta(seconds=5)),
        expires_at=stamp(now + timedelta(hours=1)),
    )
    return verify(document, "platform", key.public)


def run_both(
    mode: str,
    tables: Path,
    maker: Maker,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    hidden: frozenset[str] = frozenset(),
    on_event: Callable[[str, dict[str, Any], Seen], None] = lambda party, event, seen: None,
) -> Seen:
    """Runs one job of two nodes to its end. Bank columns among `hidden` are not in the ticket.

    `on_event` hears every progress event of a party while the job runs; what it adds to the feed of `maker` is heard.
    """
    sides = {side: load_side(tables / side, side) for side in PARTIES}
    create_ca(folder)
    identity = {}
    for name in PARTIES:
        cert, key = issue(folder, name, ["127.0.0.1"], folder / name)
        identity[name] = Identity(folder / name / "ca.crt", cert, key)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        relay = f"127.0.0.1:{probe.getsockname()[1]}"
    zone_key = vault.load_zone_key(folder / "lab-state")
    allowed = [column for column in sides["bank"].columns if column["name"] not in hidden]
    ticket = ticket_of(sides, maker.platform, mode, relay, vault.public_b64(zone_key), allowed)
    journals = {side: Journal(folder / side / "journal.sqlite") for side in sides}
    heads = {side: Heads(maker.platform, side) for side in sides}
    seen = Seen(ticket, journals, heads, {})
    start, unwrap, feed = sandbox.start, vault.unwrap, Feed(maker)

    def recording(runtime, module, inputs, *rest, **more):  # type: ignore[no-untyped-def]
        seen.received.append(dict(inputs))
        return start(runtime, module, inputs, *rest, **more)

    monkeypatch.setattr(sandbox, "start", recording)
    monkeypatch.setattr(vault, "unwrap", lambda *a: seen.data_keys.append(unwrap(*a)) or seen.data_keys[-1])

    async def main() -> None:
        server = RelayServer(identity["lab"], relay)
        await server.start(None, None)  # type: ignore[arg-type]

        async def connect(party: str, digest: str) -> object:
            if party == "lab":
                return await server.expect(ticket["job_id"], digest, "bank", 20)
            return await RelayClient(identity["bank"], relay, "lab").dial(ticket["job_id"], digest, 20)

        def job(party: str) -> Job:
            platform = PlatformKeys(maker.platform.public)
            consents = Consents(journals[party], platform, feed.fetch)
            key = load_key(folder / party, maker.platform.suite)
            seen.logs[party] = UseLog(journals[party], key, party, heads[party], platform, lambda: consents.lapsed)

            def report(event: dict[str, Any]) -> None:
                count = len(maker.events)
                on_event(party, event, seen)
                if len(maker.events) > count:  # as the agent does when the feed has grown
                    for one in everybody:
                        waiting.append(asyncio.ensure_future(one.sync()))

            everybody.append(consents)
            return Job(
                ticket=ticket,
                party=party,
                side=sides[party],
                consents=consents,
                journal=journals[party],
                use_log=seen.logs[party],
                limits=sandbox.Limits(),
                connect=lambda digest: connect(party, digest),  # type: ignore[arg-type]
                report=report,
                outbox=seen.outbox if party == "lab" else None,
                zone_key=zone_key if party == "lab" else None,
            )

        everybody: list[Consents] = []
        waiting: list[asyncio.Future[int]] = []
        both = [job(party) for party in PARTIES]
        try:
            async with asyncio.timeout(150):
                await asyncio.gather(*(one.run() for one in both))
                await asyncio.gather(*waiting)
        finally:
            await server.stop()

    asyncio.run(main())
    return seen
