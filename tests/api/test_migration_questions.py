"""Migration 0008 on a database that is in use: a webhook whose secret cannot be kept ends, and says so."""

from __future__ import annotations

import sqlalchemy as sa

from api import migrations
from tests.api.world import World


def columns(connection: sa.Connection, table: str) -> set[str]:
    return {column["name"] for column in sa.inspect(connection).get_columns(table)}


def test_a_webhook_ends_with_the_way_its_secret_was_kept(world: World) -> None:
    body = {"institution": "bank-a", "url": "https://bank.example/events"}
    made = world.operator.call("POST", "/v1/webhooks", json=body)
    world.close()
    engine = sa.create_engine(world.db.url)
    for move, revision, kept in ((migrations.downgrade, "0007", True), (migrations.upgrade, "0008", False)):
        move(engine, revision)
        with engine.connect() as connection:
            assert ("secret" in columns(connection, "webhooks")) is kept
            assert sa.inspect(connection).has_table("node_questions") is not kept
            assert sa.inspect(connection).has_table("impact_questions") is kept
            assert connection.scalar(sa.text("SELECT state FROM webhooks")) == "removed"
            query = sa.text("SELECT reason FROM audit WHERE object_id = :id AND to_state = 'removed'")
            assert "add it again" in connection.scalars(query, {"id": made["id"]}).one()
    engine.dispose()
