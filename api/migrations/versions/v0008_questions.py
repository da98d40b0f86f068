"""Questions to nodes of every kind in one table; webhooks' secrets are derived and no longer stored.

A webhook from before had a secret that nobody can derive, and one from after has none that a column could hold: either
way the operator adds it again, which tells the bank its new secret. Its events wait in the poll meanwhile.
"""

from alembic import op

from api.migrations import guards

revision = "0008"
down_revision = "0007"

BEFORE = ("impact_questions", "usage_questions")


def _remove_webhooks() -> None:
    op.execute("SELECT set_config('creditlab.tenant', 'platform', true)")
    op.execute(
        """
        WITH gone AS (UPDATE webhooks SET state = 'removed' WHERE state = 'active' RETURNING id)
        INSERT INTO audit (at, actor, actor_name, institution, action, object_kind, object_id, from_state, to_state,
                           reason)
        SELECT now(), 'system', 'system', 'platform', 'webhook.remove', 'webhook', id, 'active', 'removed',
               'its secret is kept in another way now: add it again'
        FROM gone
        """
    )
    op.execute("SET CONSTRAINTS ALL IMMEDIATE")  # the guards of the rows just written must have run before the change
    op.execute("SET CONSTRAINTS ALL DEFERRED")


def upgrade() -> None:
    _remove_webhooks()
    op.execute("ALTER TABLE webhooks DROP COLUMN secret")
    for table in BEFORE:  # in transit only: nothing in them is worth carrying over
        op.execute(f"DROP TABLE {table}")
    op.execute(
        """
        CREATE UNLOGGED TABLE node_questions (
            id TEXT NOT NULL,
            node TEXT NOT NULL,
            kind TEXT NOT NULL,
            question TEXT NOT NULL,
            answer JSONB,
            asked_at TIMESTAMP WITH TIME ZONE NOT NULL,
            PRIMARY KEY (id, node),
            CONSTRAINT node_questions_kind CHECK (kind in ('impact', 'usage'))
        )
        """
    )
    op.execute("CREATE INDEX node_questions_node ON node_questions (node) WHERE answer is null")
    guards.scoped(
        {"node_questions": "node IN (SELECT name FROM nodes WHERE nodes.institution = (SELECT creditlab_tenant()))"}
    )


def downgrade() -> None:
    _remove_webhooks()
    op.execute("ALTER TABLE webhooks ADD COLUMN secret TEXT NOT NULL DEFAULT ''")
    op.execute("ALTER TABLE webhooks ALTER COLUMN secret DROP DEFAULT")
    op.execute("DROP TABLE node_questions")
    for table in BEFORE:
        op.execute(
            f"""
            CREATE UNLOGGED TABLE {table} (
                id TEXT NOT NULL,
                node TEXT NOT NULL,
                question TEXT NOT NULL,
                answer JSONB,
                asked_at TIMESTAMP WITH TIME ZONE NOT NULL,
                PRIMARY KEY (id, node)
            )
            """
        )
        op.execute(f"CREATE INDEX {table}_node ON {table} (node) WHERE answer is null")
