"""Heads of the nodes' own logs of uses, each with its entry in the ledger (docs/decisions/0026).

A person's consent keeps the place of what ended it, a withdrawal or its term.
"""

from alembic import op

from api.migrations import guards

revision = "0013"
down_revision = "0012"

AUDITED = {"node_heads": ("node_head", "job_id", "node")}
# the node whose log it is: of a job's other node the head is nobody's business
OWN = "node IN (SELECT name FROM nodes WHERE nodes.institution = (SELECT creditlab_tenant()))"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE node_heads (
            job_id TEXT NOT NULL,
            node TEXT NOT NULL,
            number BIGINT NOT NULL,
            log_id TEXT NOT NULL,
            size BIGINT NOT NULL,
            document TEXT NOT NULL,
            entered_at TIMESTAMP WITH TIME ZONE NOT NULL,
            PRIMARY KEY (job_id, node),
            FOREIGN KEY(job_id) REFERENCES jobs (id),
            FOREIGN KEY(node) REFERENCES nodes (name)
        )
        """
    )
    op.execute("CREATE UNIQUE INDEX node_heads_order ON node_heads (node, number)")
    guards.append_only(AUDITED)
    guards.audited(AUDITED)
    op.execute(
        "CREATE CONSTRAINT TRIGGER ledgered AFTER INSERT ON node_heads DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION require_ledger('node_head', 'job_id', 'node')"
    )
    guards.scoped({"node_heads": OWN})
    op.execute("ALTER TABLE person_consents RENAME COLUMN withdrawn_seq TO ended_seq")


def downgrade() -> None:
    op.execute("ALTER TABLE person_consents RENAME COLUMN ended_seq TO withdrawn_seq")
    op.execute("DROP TABLE node_heads")
