"""Migration 0012 on a database that is in use: permits to score go both ways, permits to be told data only forth."""

from __future__ import annotations

import sqlalchemy as sa

from api import migrations
from api.ledger import documents
from api.ledger.repository import Log
from tests.api.test_data import RECORDS, consent, query, told
from tests.api.test_scores import score
from tests.api.world import Enterprise, World


def checked(connection: sa.Connection) -> None:
    """Every document is the one in the ledger, and every row that needs an entry has one."""
    documents.check(connection, connection.scalar(sa.select(Log.log_id)))


def test_permits_to_score_stay_and_those_for_data_leave_with_a_word(world: World) -> None:
    job_id = world.succeeded()
    world.released(job_id)
    world.gateway.import_consents([Enterprise("E-score").consent("c-score", purpose="underwriting_score")])
    usage_id = score(world, job_id)["usage_id"]
    consent(world, "E-data")
    _, item = told(world, lambda: query(world.risk), result={"records": RECORDS})
    permit_id = item["permit"]["body"]["permit_id"]
    world.close()
    engine = sa.create_engine(world.db.url)
    with engine.connect() as connection:
        checked(connection)
        both = sa.text("SELECT kind, state FROM permits ORDER BY kind")
        assert connection.execute(both).all() == [("data", "answered"), ("score", "answered")]
    migrations.downgrade(engine, "0011")
    with engine.connect() as connection:
        assert connection.scalars(sa.text("SELECT usage_id FROM score_permits")).all() == [usage_id]
        assert not sa.inspect(connection).has_table("permit_transit")
        why = sa.text("SELECT reason FROM audit WHERE object_id = :id AND action = 'data.forget'")
        assert "knows no permits" in connection.scalars(why, {"id": permit_id}).one()
    migrations.upgrade(engine, "0012")
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT kind, usage_id FROM permits")).all() == [("score", usage_id)]
    engine.dispose()
