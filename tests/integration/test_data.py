"""A bank is told data by a real lab node out of its store, until the enterprise withdraws (R14, R35, R43, R46, R60)."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.client import LabError
from tests.features.events import Event, Store, penalty
from tests.integration.conftest import ids, write_tables
from tests.support.lab import Enterprises, Lab

pytestmark = pytest.mark.timeout(120)
[ONE] = ids(0, 1)
DAY = datetime.now(UTC).date() - timedelta(days=60)


@pytest.fixture(scope="module")
def lab(running: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab node with a store."""
    folder = tmp_path_factory.mktemp("sharing")
    tables = write_tables(folder / "data", ids(0, 120), ids(0, 120))
    store = Store(folder / "store")
    filed = (("filing_kind", "vat"), ("sales", 5000), ("arrears", 0), ("grade", "A"))
    store.write([penalty(ONE, "p-1", DAY, DAY, 12000), Event("tax", ONE, "t-1", DAY, DAY, items=filed)])
    running.add_node("lab", tables / "lab", limits=f'store = "{folder / "store"}"')
    running.wait_nodes("lab-node")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def people(lab: Lab) -> Enterprises:
    found = Enterprises()
    modes = ["report_query", "verification", "raw_detail"]
    assert lab.consent([found.consent(ONE, "bank_a", "report_query", modes=modes)])["errors"] == []
    return found


def ask(lab: Lab, way: str, **more: Any) -> Any:
    asked = {
        "enterprise": ONE,
        "provider": "lab",
        "purpose": "report_query",
        "reason": "loan 17",
        **more,
    }
    return lab.clients["risk-bank_a"].call("POST", f"/v1/data/{way}", json=asked)


def test_a_bank_is_told_what_the_enterprise_consents_to_and_nothing_after_it_withdraws(
    lab: Lab, people: Enterprises
) -> None:
    [row] = ask(lab, "queries", category="tax")["records"]
    assert (row["record_id"], row["event_date"], row["grade"]) == ("t-1", DAY.isoformat(), "A")
    assert ask(lab, "verifications", category="tax", stated={"grade": "A"})["answer"] == "yes"
    assert ask(lab, "verifications", category="tax", stated={}, at_least={"sales": "5001"})["answer"] == "no"
    report = ask(lab, "reports")["report"]
    assert {"tax", "administrative"} <= {one["id"] for one in report["categories"]}
    assert report["evaluation"]["score"] > 0
    drawn = ask(lab, "reports", form="pdf", categories=["tax", "administrative"])
    assert base64.b64decode(drawn["pdf"]).startswith(b"%PDF-")

    with pytest.raises(LabError) as misnamed:
        ask(lab, "verifications", category="tax", stated={"grade": "Z"})
    assert (misnamed.value.status, misnamed.value.code) == (422, "verify_value")

    uses = lab.clients["risk-bank_a"].usage(ONE)
    assert [use["record"]["content"]["use"] for use in reversed(uses)] == [
        "raw_detail", "verification", "verification", "report_query", "report_query", "verification",
    ]  # fmt: skip
    assert [use["outcome"] for use in reversed(uses)] == ["answered"] * 5 + ["failed"]

    lab.consent([people.withdrawal(ONE, "bank_a", "report_query")])
    said = time.monotonic()
    for way, more in (("queries", {"category": "tax"}), ("reports", {})):
        with pytest.raises(LabError) as gone:
            ask(lab, way, **more)
        assert (gone.value.status, gone.value.code) == (403, "consent_withdrawn")
    assert time.monotonic() - said < 2
