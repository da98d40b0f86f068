"""Rows without consent enter no engine: looks at what every sandbox really received (R14, R51, R61).

Both parties' real job flows over a real relay in one process, so that the inputs of each sandbox can be recorded.
"""

from __future__ import annotations

import asyncio
import io
import socket
from pathlib import Path

import pandas as pd
import pytest

from consent.keys import SigningKey
from consent.signed import verify
from consent.ticket import DEFAULT_DEADLINES, DEFAULT_EVALUATION, DEFAULT_PROTOCOL, make_ticket
from enclave import jobs as flows
from enclave import sandbox, vault
from enclave.gate import Consents
from enclave.jobs import Finished, Job
from enclave.journal import Journal
from enclave.pki import create_ca, issue
from enclave.platform_keys import PlatformKeys
from features.tables import load_side
from federated.relay.client import RelayClient
from federated.relay.link import PeerLink
from federated.relay.server import RelayServer
from federated.relay.tls import Identity
from models.channel import DATA
from tests.consent.conftest import Maker
from tests.enclave.feeds import Feed
from tests.integration.conftest import MARKER, ids, write_tables

pytestmark = pytest.mark.timeout(200)
CONSENTED = frozenset(ids(100, 700))
REFUSED = frozenset(ids(0, 100))


class Kept:
    """An outbox that keeps the finished job instead of publishing it."""

    job: Finished | None = None

    async def publish(self, job: Finished) -> str:
        self.job = job
        return "0" * 64


def ticket_of(sides: dict, key: SigningKey, mode: str, relay: str, zone_key: str, bank_columns: list[dict]) -> dict:
    from datetime import UTC, datetime, timedelta

    from consent.times import stamp

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


@pytest.mark.parametrize(("mode", "silences"), [("zone", 0), ("federated", 0), ("federated", 1)])
def test_no_row_without_consent_and_no_column_outside_the_ticket_enters_a_sandbox(
    mode: str, silences: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `silences`, the engines of the first attempt never hear each other: both nodes start them afresh."""
    tables = write_tables(tmp_path / "data", ids(0, 800), ids(0, 900))
    maker = Maker()
    for one in sorted(CONSENTED):
        maker.consent(one)
    for one in sorted(REFUSED):
        maker.refusal(one)
    for one in ids(800, 850):
        maker.consent(one, recipient="bank_b")  # another bank's consent is nobody else's
    for one in ids(850, 900):
        maker.consent(one, purpose="underwriting_score")
    sides = {side: load_side(tables / side, side) for side in ("bank", "lab")}
    received: list[dict[str, bytes]] = []
    start = sandbox.start

    def recording(runtime, module, inputs, *rest, **more):  # type: ignore[no-untyped-def]
        received.append(dict(inputs))
        return start(runtime, module, inputs, *rest, **more)

    monkeypatch.setattr(sandbox, "start", recording)
    if silences:
        monkeypatch.setattr(flows, "MEETING_SECONDS", 6.0)
        send = PeerLink.send_frame

        async def mute(link: PeerLink, kind: int, stream: int, payload: bytes) -> None:
            engines = sum("table.parquet" in inputs and len(inputs) == 1 for inputs in received)
            if kind != DATA or engines > 3:  # the leak scan and two engines of the first attempt: deaf and dumb
                await send(link, kind, stream, payload)

        monkeypatch.setattr(PeerLink, "send_frame", mute)
    data_keys: list[bytes] = []
    unwrap = vault.unwrap
    monkeypatch.setattr(vault, "unwrap", lambda *a: data_keys.append(unwrap(*a)) or data_keys[-1])
    create_ca(tmp_path)
    identity = {}
    for name in ("bank", "lab"):
        cert, key = issue(tmp_path, name, ["127.0.0.1"], tmp_path / name)
        identity[name] = Identity(tmp_path / name / "ca.crt", cert, key)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        relay = f"127.0.0.1:{probe.getsockname()[1]}"
    zone_key = vault.load_zone_key(tmp_path / "lab-state")
    allowed = [column for column in sides["bank"].columns if column["name"] != "tenure"]
    ticket = ticket_of(sides, maker.platform, mode, relay, vault.public_b64(zone_key), allowed)
    outbox = Kept()
    journals = {side: Journal(tmp_path / side / "journal.sqlite") for side in sides}

    feed = Feed(maker)

    async def main() -> None:
        server = RelayServer(identity["lab"], relay)
        await server.start(None, None)  # type: ignore[arg-type]

        async def connect(party: str, digest: str) -> object:
            if party == "lab":
                return await server.expect(ticket["job_id"], digest, "bank", 20)
            return await RelayClient(identity["bank"], relay, "lab").dial(ticket["job_id"], digest, 20)

        both = [
            Job(
                ticket=ticket,
                party=party,
                side=sides[party],
                consents=Consents(journals[party], PlatformKeys(maker.platform.public), feed.fetch),
                journal=journals[party],
                limits=sandbox.Limits(),
                connect=lambda digest, party=party: connect(party, digest),  # type: ignore[arg-type]
                report=lambda event: None,
                outbox=outbox if party == "lab" else None,
                zone_key=zone_key if party == "lab" else None,
            )
            for party in ("bank", "lab")
        ]
        try:
            async with asyncio.timeout(150):
                await asyncio.gather(*(job.run() for job in both))
        finally:
            await server.stop()

    asyncio.run(main())
    assert outbox.job is not None
    if mode == "federated":
        assert len(received) == 4 + 2 * silences  # leak scan, two engines, evaluation
    tables_seen: list[pd.DataFrame] = []
    for inputs in received:
        for name, data in inputs.items():
            if name == "bank.sealed":
                assert MARKER.encode() not in data
                from cryptography.hazmat.primitives.ciphers.aead import AESGCM

                digest = flows.ticket_digest(ticket)
                data = AESGCM(data_keys[0]).decrypt(data[:12], data[12:], digest.encode())
            if name.endswith((".parquet", ".sealed")):
                tables_seen.append(pd.read_parquet(io.BytesIO(data)))
    assert len(tables_seen) >= 2
    for table in tables_seen:
        key = "ent_id" if "ent_id" in table.columns else "id"
        assert set(table[key]) <= CONSENTED
        assert "tenure" not in table.columns
    assert any(set(table.iloc[:, 0]) == CONSENTED for table in tables_seen)
    for journal in journals.values():
        assert journal.count_uses(ticket["job_id"]) == len(CONSENTED)
