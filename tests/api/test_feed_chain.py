"""A feed that was kept before it had a chain gets one, and goes on from it."""

from __future__ import annotations

import json

import sqlalchemy as sa

from api import migrations
from api.db import Database
from consent.feed import START, extend
from tests.consent.conftest import Maker


def test_events_on_record_get_their_links_when_the_schema_is_brought_up(db: Database) -> None:
    migrations.downgrade(db.owner, "0002")
    maker = Maker()
    for number in range(5):
        maker.consent(f"e{number}")
    insert = sa.text(
        "INSERT INTO feed (seq, kind, consent_id, document, recorded_at)"
        " VALUES (:seq, 'consent', 'c', :document, now())"
    )
    with db.owner.begin() as connection:
        connection.execute(sa.text("ALTER TABLE feed DISABLE TRIGGER USER"))  # the ledger's entries are no matter here
        for event in maker.events:
            connection.execute(insert, {"seq": event["seq"], "document": json.dumps(event["document"])})
        connection.execute(sa.text("UPDATE feed_head SET seq = 5"))
        connection.execute(sa.text("ALTER TABLE feed ENABLE TRIGGER USER"))
    migrations.upgrade(db.owner, "0003")
    with db.owner.connect() as connection:
        rows = connection.execute(sa.text("SELECT chain FROM feed ORDER BY seq")).scalars().all()
        head = connection.execute(sa.text("SELECT chain FROM feed_head")).scalar_one()
    assert [bytes(row) for row in rows] == [extend(START, maker.events[: n + 1]) for n in range(5)]
    assert bytes(head) == bytes(rows[-1])
