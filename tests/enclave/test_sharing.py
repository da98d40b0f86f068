"""The lab's node tells data by a permit that it checks itself, by its own copy of the consents (R14, R43, R60)."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from consent.canonical import digest
from consent.errors import Refused
from consent.keys import SigningKey
from consent.policy import Denied
from consent.signed import Document
from consent.ticket import make_data_permit
from consent.times import stamp
from enclave.endings import JobEnded, cause_of
from enclave.gate import UNREACHABLE, Consents
from enclave.journal import Journal
from enclave.permitted import Permitted
from enclave.platform_keys import PlatformKeys
from enclave.sharing import DataDesk
from federated.relay.link import Cause
from tests.enclave.feeds import Feed
from tests.features.events import Event, Store, penalty

TODAY = dt.date(2026, 6, 3)
ALL = ["report_query", "verification", "raw_detail"]
CODES = {
    "raw_detail": ("json", "records"),
    "verification": ("word", "answer"),
    "report_query": ("json", "report"),
}


def returns(day: dt.date, grade: str, sales: int, record: str, uscc: str = "A") -> Event:
    items = (("filing_kind", "vat"), ("sales", sales), ("arrears", 0), ("grade", grade))
    return Event("tax", uscc, record, day, day, items=items)


class Node:
    """A lab's node with a store; `A` has consented to everything that may be told."""

    def __init__(self, folder: Path, **terms: Any) -> None:
        self.feed = Feed()
        now = datetime.now(UTC)
        term = {"valid_from": stamp(now - timedelta(days=9)), "valid_until": stamp(now + timedelta(days=9))}
        self.given = self.feed.maker.consent("A", purpose="report_query", **{"modes": ALL, **term, **terms})
        self.consent_id = self.given["document"]["body"]["consent_id"]
        self.platform = self.feed.maker.platform
        self.journal = Journal(folder / "journal.sqlite")
        keys = PlatformKeys(self.platform.public)
        self.consents = Consents(self.journal, keys, self.feed.fetch)
        self.store = Store(folder / "store")
        self.store.write(
            [
                penalty("A", "1", dt.date(2026, 3, 1), dt.date(2026, 3, 1), 12000),
                penalty("B", "2", dt.date(2026, 3, 1), dt.date(2026, 3, 1), 99),
                returns(dt.date(2026, 1, 15), "A", 5000, "t2"),
                returns(dt.date(2024, 2, 15), "M", 4000, "t1"),
                returns(dt.date(2026, 1, 15), "D", 1, "t3", "B"),
            ]
        )
        self.config = SimpleNamespace(name="lab-node", institution="lab", store=folder / "store")
        self.desk = DataDesk(self.config, Permitted(keys, self.consents, self.journal), lambda: TODAY)  # type: ignore[arg-type]
        self._numbers = 0

    def permit(self, use: str = "raw_detail", *, key: SigningKey | None = None, **changes: Any) -> Document:
        self._numbers += 1
        now = datetime.now(UTC)
        fields = {
            "permit_id": f"p-{self._numbers:016x}",
            "usage_id": "u-1",
            "consent_id": self.consent_id,
            "enterprise": "A",
            "recipient": "bank_a",
            "provider": "lab",
            "node": "lab-node",
            "purpose": "report_query",
            "use": use,
            "data": {"tax": "*"},
            "window_months": 12,
            "form": CODES[use][0],
            "request_sha256": "",
            "reason": "loan 17",
            "user": "risk",
            "issued_at": stamp(now - timedelta(seconds=5)),
            "expires_at": stamp(now + timedelta(seconds=30)),
        }
        return make_data_permit(key or self.platform, **{**fields, **changes})

    def tell(self, document: Document, request: dict | None = None) -> dict:
        return asyncio.run(self.desk.tell(document, request))

    def verified(self, stated: dict[str, str], at_least: dict[str, str] | None = None, **changes: Any) -> str:
        request = {"nonce": "00", "stated": stated, "at_least": at_least or {}}
        items = {"data": {"tax": sorted({*stated, *(at_least or {})})}, **changes}
        return self.tell(self.permit("verification", request_sha256=digest(request), **items), request)["answer"]

    def why_not(self, document: Document, request: dict | None = None) -> str:
        with pytest.raises((JobEnded, Denied, Refused)) as refused:
            self.tell(document, request)
        cause = cause_of(refused.value)
        assert cause.message_zh
        return cause.code

    @property
    def uses(self) -> list[dict]:
        return self.journal.uses_of("A", "report_query")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_it_tells_the_records_of_the_window_and_has_the_use_on_record(node: Node) -> None:
    """R43, R46: as JSON, of that enterprise alone, and no further back than the permit."""
    found = node.tell(node.permit())["records"]
    assert json.loads(json.dumps(found)) == found
    assert [(row["record_id"], row["event_date"], row["grade"]) for row in found] == [("t2", "2026-01-15", "A")]
    longer = node.tell(node.permit(window_months=60))["records"]
    assert [row["record_id"] for row in longer] == ["t1", "t2"]
    assert [(use["recipient"], use["consent_id"]) for use in node.uses] == [("bank_a", node.consent_id)] * 2


def test_a_permit_to_some_items_tells_those_alone(node: Node) -> None:
    """R51."""
    [row] = node.tell(node.permit(data={"tax": ["grade"]}))["records"]
    assert row["grade"] == "A"
    assert not {"sales", "arrears"} & row.keys()


def test_a_verification_is_one_word(node: Node) -> None:
    """R43: the value is in no answer, and what is beyond the window is not on file."""
    assert node.verified({"grade": "A"}) == "yes"
    assert node.verified({"grade": "M"}) == "no"
    assert node.verified({"grade": "M"}, window_months=60) == "yes"
    assert node.verified({}, {"sales": "5000"}) == "yes"
    assert node.verified({"grade": "A"}, {"sales": "5000.01"}) == "no"


def test_a_report_has_its_evaluation_and_can_be_drawn(node: Node) -> None:
    """R60, R62: of the categories and the window that the permit names."""
    everything = {"data": {"tax": "*", "administrative": "*"}, "window_months": 36}
    told = node.tell(node.permit("report_query", **everything))["report"]
    assert (told["uscc"], told["recipient"], told["usage"]) == ("A", "bank_a", "u-1")
    assert [one["id"] for one in told["categories"]] == ["administrative", "tax"]
    assert 0 < told["evaluation"]["score"] <= 1000
    drawn = node.tell(node.permit("report_query", form="pdf", **everything))["pdf"]
    assert base64.b64decode(drawn).startswith(b"%PDF-")


def test_a_report_looks_no_further_back_than_its_window(node: Node) -> None:
    """A category that may be told in part only is not evaluated, and the report says so."""
    short = node.tell(node.permit("report_query", window_months=3))["report"]
    long = node.tell(node.permit("report_query", window_months=12))["report"]
    names = [{one["name"] for one in told["categories"][0]["features"]} for told in (short, long)]
    assert "vat_sales_12m" in names[1] - names[0]
    assert short["categories"][0]["records"] == 0
    part = node.tell(node.permit("report_query", data={"tax": ["grade"]}))["report"]
    assert part["evaluation"]["not_covered"]
    assert set(part["evaluation"]["not_covered"]) > set(long["evaluation"]["not_covered"])
    assert [one["name"] for one in part["categories"][0]["items"]] == ["grade"]


def test_what_stays_with_the_lender_is_told_to_nobody(node: Node) -> None:
    assert node.why_not(node.permit(data={"credit": "*"})) == "sharing_never"
    assert node.why_not(node.permit("report_query", data={"credit": "*", "tax": "*"})) == "sharing_never"


@pytest.mark.parametrize(
    ("terms", "changes", "code"),
    [
        ({"modes": ["report_query"]}, {}, "use_not_consented"),
        ({"data": {"judicial": "*"}}, {}, "data_not_covered"),
        ({"data": {"tax": ["grade"]}}, {}, "data_not_covered"),
        ({"window_months": 6}, {}, "window_exceeded"),
        ({}, {"purpose": "underwriting_score"}, "use_not_allowed"),
        ({}, {"recipient": "bank_b"}, "no_consent"),
        ({}, {"enterprise": "B"}, "no_consent"),
        ({"provider": "lab_2"}, {}, "no_consent"),
    ],
)
def test_the_platforms_word_alone_does_not_open_the_store(
    tmp_path: Path, terms: dict[str, Any], changes: dict[str, Any], code: str
) -> None:
    """R14: a permit that goes beyond the consent, signed as it may be, is refused by the node's own gate."""
    node = Node(tmp_path, **terms)
    assert node.why_not(node.permit(**changes)) == code
    assert node.uses == []


def test_after_a_withdrawal_an_issued_permit_is_worth_nothing(node: Node) -> None:
    permit = node.permit()
    node.tell(permit)
    node.feed.maker.withdrawal(node.given, at=stamp(datetime.now(UTC)))
    assert node.why_not(permit) == "consent_withdrawn"


def test_without_the_feed_nothing_is_told(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    async def cut_off(_: int) -> dict:
        raise JobEnded(Cause(UNREACHABLE, "no answer", "无应答"))

    monkeypatch.setattr(node.consents, "_fetch", cut_off)
    assert node.why_not(node.permit()) == "lease_lapsed"
    assert node.uses == []


def test_a_permit_that_is_not_the_platforms_or_not_this_nodes_is_refused(node: Node) -> None:
    assert node.why_not(node.permit(key=SigningKey.generate())) == "permit_refused"
    assert node.why_not(node.permit(node="lab-node-2")) == "permit_refused"
    assert node.why_not(node.permit(provider="lab_2")) == "permit_refused"
    late = stamp(datetime.now(UTC) - timedelta(seconds=1))
    assert node.why_not(node.permit(expires_at=late)) == "expired"
    forged = node.permit()
    forged["body"]["data"] = {"tax": "*", "judicial": "*"}
    assert node.why_not(forged) == "permit_refused"
    assert node.uses == []


def test_what_is_asked_is_what_was_signed(node: Node) -> None:
    """A line between the two cannot ask for another value than the one that is on record."""
    request = {"nonce": "00", "stated": {"grade": "A"}, "at_least": {}}
    permit = node.permit("verification", data={"tax": ["grade"]}, request_sha256=digest(request))
    assert node.why_not(permit, {**request, "stated": {"grade": "M"}}) == "permit_refused"
    assert node.why_not(permit) == "permit_refused"
    assert node.why_not(node.permit(), request) == "permit_refused"
    other = {"nonce": "00", "stated": {"sales": "1"}, "at_least": {}}
    permit = node.permit("verification", data={"tax": ["grade"]}, request_sha256=digest(other))
    assert node.why_not(permit, other) == "sharing_item"


def test_a_lab_without_a_store_says_so(node: Node) -> None:
    node.config.store = None
    assert node.why_not(node.permit()) == "store_missing"
    assert node.uses == []
