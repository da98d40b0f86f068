"""Security incidents: an institution reports and reads its own, the platform works on all."""

from alembic import op

from api.migrations import guards

revision = "0014"
down_revision = "0013"

T = "(SELECT creditlab_tenant())"
TABLE = """
CREATE TABLE incidents (
    id TEXT NOT NULL,
    institution TEXT NOT NULL,
    kind TEXT NOT NULL,
    severity TEXT NOT NULL,
    found_by TEXT NOT NULL,
    noticed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    measures TEXT,
    contact TEXT NOT NULL,
    reported_by TEXT NOT NULL,
    reported_name TEXT NOT NULL,
    reported_at TIMESTAMP WITH TIME ZONE NOT NULL,
    late BOOLEAN NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE NOT NULL,
    acknowledged_name TEXT,
    acknowledged_at TIMESTAMP WITH TIME ZONE,
    opinion TEXT,
    closed_name TEXT,
    closed_at TIMESTAMP WITH TIME ZONE,
    outcome TEXT,
    state TEXT NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(institution) REFERENCES institutions (id),
    FOREIGN KEY(reported_by) REFERENCES accounts (id)
)
"""
INDEXES = (
    "CREATE INDEX incidents_reported ON incidents (reported_at, id)",
    "CREATE INDEX incidents_institution ON incidents (institution, reported_at, id)",
    "CREATE INDEX incidents_due ON incidents (due_at, id) WHERE closed_at IS NULL",
)
AUDITED = {"incidents": ("incident", "id")}


def upgrade() -> None:
    for statement in (TABLE, *INDEXES):
        op.execute(statement)
    guards.audited(AUDITED)
    # what was reported is not the reporter's to change
    guards.enclosed(
        "incidents",
        ("SELECT", f"institution = {T}", None),
        ("INSERT", None, f"institution = {T} AND state = 'reported'"),
    )


def downgrade() -> None:
    op.execute("DROP TABLE incidents")
