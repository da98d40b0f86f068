"""Tickets, permits and release orders: checked signature first, then form, then time."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.artefact import MalformedDocument
from consent.canonical import canonical
from consent.keys import BadSignature, SigningKey
from consent.policy import Denied
from consent.signed import read_canonical
from consent.ticket import (
    DEFAULT_DEADLINES,
    DEFAULT_EVALUATION,
    DEFAULT_PROTOCOL,
    check_data_permit,
    check_release_order,
    check_ticket,
    make_data_permit,
    make_release_order,
    make_ticket,
    ticket_digest,
)

KEY = SigningKey.generate()
AT = "2026-05-01T00:00:30Z"


def fields() -> dict:
    columns = [{"name": "x", "kind": "numeric"}]
    return {
        "job_id": "j-000000000001",
        "project": "p",
        "purpose": "joint_training",
        "mode": "federated",
        "recipe": {"name": "boosting", "params": {}},
        "dataset": {"name": "d", "id": "id", "as_of": None, "label": "y", "split": {"hash_test_share": 0.3}},
        "parties": {
            "bank": {"institution": "bank_a", "node": "bank_a-node", "columns": columns},
            "lab": {
                "institution": "lab",
                "node": "lab-node",
                "relay": "127.0.0.1:1",
                "zone_key": "AA==",
                "columns": columns,
            },
        },
        "evaluation": dict(DEFAULT_EVALUATION),
        "protocol": copy.deepcopy(DEFAULT_PROTOCOL),
        "leaks": "exclude",
        "outputs": ["report", "model"],
        "deadlines": dict(DEFAULT_DEADLINES),
        "issued_at": "2026-05-01T00:00:00Z",
        "expires_at": "2026-05-01T01:00:00Z",
    }


def test_a_ticket_is_bound_to_its_platform_and_time() -> None:
    ticket = make_ticket(KEY, **fields())
    assert check_ticket(ticket, KEY.public, AT)["job_id"] == "j-000000000001"
    with pytest.raises(BadSignature):
        check_ticket(ticket, SigningKey.generate().public, AT)
    with pytest.raises(Denied, match="expired"):
        check_ticket(ticket, KEY.public, "2026-05-01T01:00:00Z")
    with pytest.raises(Denied, match="valid from"):
        check_ticket(ticket, KEY.public, "2026-04-30T23:00:00Z")


TICKET = canonical(make_ticket(KEY, **fields()))


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, 10_000), change=st.integers(1, 255))
def test_any_changed_byte_of_a_ticket_is_refused(position: int, change: int) -> None:
    raw = bytearray(TICKET)
    raw[position % len(raw)] ^= change
    with pytest.raises(BadSignature):
        check_ticket(read_canonical(bytes(raw)), KEY.public, AT)


def test_a_changed_ticket_is_refused_and_has_another_digest() -> None:
    ticket = make_ticket(KEY, **fields())
    changed = copy.deepcopy(ticket)
    changed["body"]["parties"]["lab"]["columns"].append({"name": "secret", "kind": "numeric"})
    with pytest.raises(BadSignature):
        check_ticket(changed, KEY.public, AT)
    assert ticket_digest(changed) != ticket_digest(ticket)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("protocol", "spu"), "REF2K", "protocol.spu"),
        (("protocol", "psi"), "KKRT", "protocol.psi"),
        (("protocol", "heu", "key_size"), 1024, "protocol.heu.key_size"),
        (("protocol", "heu", "schema"), "mock", "protocol.heu.schema"),
        (("protocol", "field"), "FM64", "protocol.field"),
        (("purpose",), "underwriting_score", "purpose"),
        (("mode",), "plain", "mode"),
        (("deadlines", "stall"), 0, "deadlines.stall"),
        (("parties", "lab", "relay"), "", "parties.lab.relay"),
        (("parties", "bank", "columns"), [], "parties.bank.columns"),
    ],
)
def test_what_may_not_be_in_a_ticket_is_refused_by_name(path: tuple, value: object, named: str) -> None:
    """REF2K computes in the clear, FM64 loses the sigmoid silently: neither can be asked for."""
    body = fields()
    place = body
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(MalformedDocument) as refused:
        make_ticket(KEY, **body)
    assert named in str(refused.value)


def order(**changes: object) -> dict:
    body = {
        "release_id": "r-1",
        "job_id": "j-1",
        "sha256": "0" * 64,
        "parties": {},
        "author": "ann",
        "reviewers": ["bob", "cid"],
        "issued_at": "2026-05-01T00:00:00Z",
        "expires_at": "2026-05-01T01:00:00Z",
    }
    return make_release_order(KEY, **{**body, **changes})


@pytest.mark.parametrize("reviewers", [[], ["bob"], ["bob", "bob"], ["ann", "bob"]])
def test_a_node_refuses_an_order_without_two_reviewers_who_are_not_the_author(reviewers: list[str]) -> None:
    check_release_order(order(), KEY.public, AT)
    with pytest.raises(Denied):
        check_release_order(order(reviewers=reviewers), KEY.public, AT)


def data_permit(**changes: object) -> dict:
    body = {
        "permit_id": "p-0000000000000001",
        "usage_id": "u-0000000000000001",
        "consent_id": "c-1",
        "enterprise": "E",
        "recipient": "bank_a",
        "provider": "lab",
        "node": "lab-node",
        "purpose": "report_query",
        "use": "raw_detail",
        "data": {"tax": "*"},
        "window_months": 12,
        "form": "json",
        "request_sha256": "",
        "reason": "loan",
        "user": "risk",
        "issued_at": "2026-05-01T00:00:00Z",
        "expires_at": "2026-05-01T00:01:00Z",
    }
    return make_data_permit(KEY, **{**body, **changes})


def test_a_permit_to_be_told_data_is_bound_to_its_platform_and_time() -> None:
    document = data_permit()
    assert check_data_permit(document, KEY.public, AT)["data"] == {"tax": "*"}
    with pytest.raises(BadSignature):
        check_data_permit(document, SigningKey.generate().public, AT)
    with pytest.raises(Denied):
        check_data_permit(document, KEY.public, "2026-05-01T00:01:00Z")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"use": "scoring"}, "use"),
        ({"purpose": "marketing"}, "purpose"),
        ({"form": "pdf"}, "form"),
        ({"use": "verification", "form": "json"}, "form"),
        ({"data": {}}, "data"),
        ({"data": {"tax": "*", "judicial": "*"}}, "data"),
        ({"data": {"nonsense": "*"}}, "data"),
        ({"data": {"tax": []}}, "data.tax"),
        ({"data": {"tax": [1]}}, "data.tax"),
        ({"window_months": 0}, "window_months"),
        ({"window_months": True}, "window_months"),
        ({"stated": {"grade": "A"}}, "stated"),
    ],
)
def test_a_permit_to_be_told_data_says_one_way_and_one_category_and_states_nothing(changes: dict, field: str) -> None:
    """What is stated of an enterprise has no place in a document that is kept."""
    with pytest.raises(MalformedDocument, match=field):
        data_permit(**changes)
