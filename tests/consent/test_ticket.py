"""Tickets, permits and release orders: checked signature first, then form, then time."""

from __future__ import annotations

import copy

import pytest

from consent.artefact import MalformedDocument
from consent.keys import BadSignature, SigningKey
from consent.policy import Denied
from consent.ticket import (
    DEFAULT_DEADLINES,
    DEFAULT_EVALUATION,
    DEFAULT_PROTOCOL,
    check_release_order,
    check_ticket,
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
