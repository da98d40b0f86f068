"""A person's own consent besides the enterprise's, over two nodes: no row enters an engine without (PIPL §13, §29)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from consent import person
from consent.times import stamp
from tests.consent.conftest import Maker
from tests.integration.both import Seen, run_both
from tests.integration.conftest import ids, write_tables

pytestmark = pytest.mark.timeout(200)
PLAIN = ids(0, 400)  # nobody is named
GIVEN = ids(400, 480)  # a sole trader, who consented
LEAVING = ids(480, 500)  # who consents, and withdraws while the job runs
MISSING = ids(500, 520)  # who said nothing
REFUSED = ids(520, 540)
WITHDRAWN = ids(540, 560)
EXPIRED = ids(560, 580)
NARROW = ids(580, 600)  # who consented to less than the enterprise


def said(maker: Maker) -> dict[str, dict[str, Any]]:
    """Every enterprise consents; persons as their group says. The words of those who leave later."""
    for one in PLAIN:
        maker.consent(one)
    words: dict[str, dict[str, Any]] = {}
    for one in (*GIVEN, *LEAVING, *MISSING, *REFUSED, *WITHDRAWN, *EXPIRED, *NARROW):
        offer = maker.offer(one, who=f"p-{one}")
        if one in NARROW:
            offer = maker.offer(one, who=f"p-{one}", window_months=1)
        maker.consent(one, subject="sole_trader", persons=[maker.named(offer)])
        if one in REFUSED:
            maker.said(offer, person.REFUSAL)
        elif one in EXPIRED:
            maker.said(offer, valid_until="2026-02-01T00:00:00Z")
        elif one not in MISSING:
            words[one] = maker.said(offer)
        if one in WITHDRAWN:
            maker.taken_back(words[one])
    return words


@pytest.mark.parametrize("mode", ["zone", "federated"])
def test_without_a_persons_own_consent_no_row_enters_an_engine_and_who_withdraws_leaves(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R44: on both sides alike, before the job and at the next gate of one that runs."""
    tables = write_tables(tmp_path / "data", ids(0, 600), ids(0, 600))
    maker = Maker()
    words = said(maker)
    withdrawn: list[int] = []  # how many sandboxes had been started by then

    def withdraw(party: str, event: dict[str, Any], seen: Seen) -> None:
        if event["kind"] == "phase" and not withdrawn:  # the first phase of the first sandbox
            withdrawn.append(len(seen.received))
            for one in LEAVING:
                maker.taken_back(words[one], at=stamp(datetime.now(UTC)))

    seen = run_both(mode, tables, maker, tmp_path, monkeypatch, on_event=withdraw)
    before, after = {*PLAIN, *GIVEN, *LEAVING}, {*PLAIN, *GIVEN}
    given = seen.ids()
    assert given[0] == before
    assert all(one <= before for one in given)
    assert seen.outbox.job is not None
    assert seen.outbox.job.cohort["bank_consented"] == len(before)
    [left] = {one["enterprises"] for one in seen.outbox.job.exclusions}
    assert left == len(LEAVING)
    if mode == "federated":  # tables made after the withdrawal hold nobody who left
        assert given[-1] == after
    for journal in seen.journals.values():
        used = {who for who, _ in journal.rests_on(seen.ticket["job_id"])}
        assert used == after
