"""Rows without consent enter no engine: looks at what every sandbox really received (R14, R51, R61)."""

from __future__ import annotations

from pathlib import Path

import pytest

from consent import node_log
from consent.ledger import FixedKeys
from enclave import jobs as flows
from enclave import sandbox
from federated.relay.link import PeerLink
from models.channel import DATA
from tests.consent.conftest import Maker
from tests.integration.both import PARTIES, run_both
from tests.integration.conftest import ids, write_tables

pytestmark = pytest.mark.timeout(200)
CONSENTED = frozenset(ids(100, 700))
REFUSED = frozenset(ids(0, 100))


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
    started: list[dict[str, bytes]] = []
    if silences:
        monkeypatch.setattr(flows, "MEETING_SECONDS", 6.0)
        send, start = PeerLink.send_frame, sandbox.start

        def counting(runtime, module, inputs, *rest, **more):  # type: ignore[no-untyped-def]
            started.append(inputs)
            return start(runtime, module, inputs, *rest, **more)

        async def mute(link: PeerLink, kind: int, stream: int, payload: bytes) -> None:
            engines = sum("table.parquet" in inputs and len(inputs) == 1 for inputs in started)
            if kind != DATA or engines > 3:  # the leak scan and two engines of the first attempt: deaf and dumb
                await send(link, kind, stream, payload)

        monkeypatch.setattr(sandbox, "start", counting)
        monkeypatch.setattr(PeerLink, "send_frame", mute)
    seen = run_both(mode, tables, maker, tmp_path, monkeypatch, hidden=frozenset({"tenure"}))
    assert seen.outbox.job is not None
    if mode == "federated":
        assert len(seen.received) == 4 + 2 * silences  # leak scan, two engines, evaluation
    given = seen.tables()
    assert len(given) >= 2
    for table, who in zip(given, seen.ids(), strict=True):
        assert who <= CONSENTED
        assert "tenure" not in table.columns
    assert any(set(table.iloc[:, 0]) == CONSENTED for table in given)
    keys = FixedKeys(maker.platform.public)
    for party in PARTIES:
        journal, head = seen.journals[party], seen.heads[party].last
        assert journal.count_uses(seen.ticket["job_id"]) == len(CONSENTED)
        assert head is not None
        assert head.head.size == len(CONSENTED)
        # R46: each of them is proved to the head that the platform's ledger held before a row was read
        [use] = journal.uses_of(min(CONSENTED), "joint_training")
        file = seen.logs[party].file(use["use"], use["job_id"])
        assert file is not None
        assert node_log.check(file, keys).use["object"]["id"] == min(CONSENTED)
