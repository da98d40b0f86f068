"""Lists over very many rows: every page comes from an index in its order, whatever was filtered, and quickly."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from api.applications import handling, repository
from api.applications import service as applications
from api.auth import Caller, Role
from api.db import Actor
from tests.api.financing import as_owner, firm, officer, shelved
from tests.api.world import World

ROWS = 200_000
BANKS = ("bank-a", "bank-b", "bank-c", "bank-d")


@pytest.fixture(scope="module")
def full(shared: World) -> World:
    """A fifth of a million applications in every state, half of them bank-a's, past all our code."""
    who, bank = firm(shared), officer(shared)
    for name in BANKS[1:]:
        officer(shared, name)
    product = shelved(shared, bank)
    with as_owner(shared) as connection:
        connection.execute(
            sa.text(
                """
                INSERT INTO applications (id, kind, enterprise, product, institution, product_class, amount,
                    term_months, purpose, repayment, guarantees, open_to_all, basic, flags, state, created_at,
                    submitted_at, version, attested_by, attested_name, attested_at)
                SELECT 'ap-' || lpad(to_hex(i), 12, '0'), 'product', :uscc, :product, 'bank-a', 'working_capital',
                    1000000, 12, '备货', '回款', '{credit}', false, '{}', '{}',
                    (ARRAY['submitted', 'pushed', 'closed', 'withdrawn'])[1 + i % 4], now() - i * interval '37 seconds',
                    now() - i * interval '37 seconds', 1, 'x', 'x', now()
                FROM generate_series(1, :rows) AS i
                """
            ),
            {"uscc": who.uscc, "product": product, "rows": ROWS},
        )
        connection.execute(
            sa.text(
                """
                INSERT INTO referrals (id, application, kind, origin, enterprise, enterprise_name, institution, product,
                    product_class, region, industry, amount, term_months, state, received_at, late, version,
                    attested_by, attested_name, attested_at)
                SELECT 'rf-' || lpad(to_hex(i), 12, '0'), 'ap-' || lpad(to_hex(i), 12, '0'), 'product', 'product',
                    :uscc, 'x',
                    CASE WHEN i % 2 = 0 THEN 'bank-a' ELSE (ARRAY['bank-b', 'bank-c', 'bank-d'])[1 + i % 3] END,
                    :product, 'working_capital', '440305', 'C3922', 1000000, 12,
                    (ARRAY['received', 'accepted', 'followed_up', 'approved', 'granted', 'refused', 'declined'])
                        [1 + (i / 2) % 7],
                    now() - i * interval '37 seconds', false, 1, 'x', 'x', now()
                FROM generate_series(1, :rows) AS i
                """
            ),
            {"uscc": who.uscc, "product": product, "rows": ROWS},
        )
    with shared.db.owner.begin() as connection:
        connection.execute(sa.text("ANALYZE applications, referrals"))
    shared.tokens["long-list-firm"] = who.uscc
    return shared


OFFICER = Caller("a", "a", "bank-a", frozenset({Role.OFFICER}))
OPERATOR = Caller("o", "o", "platform", frozenset({Role.OPERATOR}))


def plan(session: Session, query: sa.Select[Any], order: Any, cursor: str | None) -> dict[str, Any]:
    """As the database would run a page of it for the session's tenant, row-level security included."""
    if cursor is not None:
        query = query.where(order.after(cursor))
    keys = [column.desc() if order.descending else column.asc() for column in order.columns]
    text = str(
        query.order_by(*keys).limit(101).compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
    )
    return json.loads(json.dumps(session.execute(sa.text(f"EXPLAIN (FORMAT JSON) {text}")).scalar()))[0]["Plan"]


def nodes(one: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield one
    for below in one.get("Plans", ()):
        yield from nodes(below)


def lists(uscc: str) -> dict[str, tuple[Actor, sa.Select[Any], Any]]:
    person = Actor("ep", "ep", uscc)
    return {
        "institution": (OFFICER, repository.referrals(institution="bank-a", state=None), handling._NEWEST),
        "institution by state": (
            OFFICER, repository.referrals(institution="bank-a", state="accepted"), handling._NEWEST,
        ),
        "institution, none in state": (
            OFFICER, repository.referrals(institution="bank-a", state="withdrawn"), handling._NEWEST,
        ),
        "platform": (OPERATOR, repository.referrals(institution=None, state=None), handling._NEWEST),
        "platform by state": (OPERATOR, repository.referrals(institution=None, state="received"), handling._NEWEST),
        "review queue": (
            OPERATOR, repository.applications(state="submitted", submitted=True), applications._QUEUE,
        ),
        "enterprise": (person, repository.applications(enterprise=uscc), applications._MINE),
    }  # fmt: skip


NAMES = list(lists("x"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("depth", [0, 1, 12_000])
def test_a_page_is_read_from_an_index_without_sorting(full: World, name: str, depth: int) -> None:
    actor, query, order = lists(full.tokens["long-list-firm"])[name]
    with full.db.read(actor) as session:
        cursor = None
        if depth:
            keys = [column.desc() if order.descending else column.asc() for column in order.columns]
            row = session.scalars(query.order_by(*keys).offset(depth).limit(1)).first()
            cursor = None if row is None else order.cursor(row)
        found = list(nodes(plan(session, query, order, cursor)))
    kinds = [node["Node Type"] for node in found]
    assert not {"Sort", "Incremental Sort"} & set(kinds), kinds
    table = query.get_final_froms()[0].name
    rows = next(node for node in found if node.get("Relation Name") == table)
    assert rows["Node Type"] == "Index Scan", kinds
    if cursor is not None:
        assert "ROW(" in rows["Index Cond"], rows


@pytest.mark.parametrize("name", NAMES)
def test_every_page_answers_within_a_tenth_of_a_second(full: World, name: str) -> None:
    """The deepest page costs what the first one does; the median of five."""
    uscc = full.tokens["long-list-firm"]
    calls: dict[str, Any] = {
        "institution": lambda c: handling.listed(full.control, OFFICER, None, c, 100),
        "institution by state": lambda c: handling.listed(full.control, OFFICER, "accepted", c, 100),
        "institution, none in state": lambda c: handling.listed(full.control, OFFICER, "withdrawn", c, 100),
        "platform": lambda c: handling.listed(full.control, OPERATOR, None, c, 100),
        "platform by state": lambda c: handling.listed(full.control, OPERATOR, "received", c, 100),
        "review queue": lambda c: applications.queue(full.control, OPERATOR, "submitted", c, 100),
        "enterprise": lambda c: applications.mine(full.control, Actor("ep", "ep", uscc), None, c, 100),
    }
    actor, query, order = lists(uscc)[name]
    with full.db.read(actor) as session:
        keys = [column.asc() if order.descending else column.desc() for column in order.columns]
        last = session.scalars(query.order_by(*keys).offset(50).limit(1)).first()
    for cursor in [None, None if last is None else order.cursor(last)]:
        took = []
        for _ in range(5):
            began = time.perf_counter()
            calls[name](cursor)
            took.append(time.perf_counter() - began)
        assert sorted(took)[2] < 0.1, (name, cursor, took)
