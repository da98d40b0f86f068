"""Idempotent requests, workers and period reports."""

from alembic import op

from api.migrations import guards

revision = "0010"
down_revision = "0009"

TABLES = {
    "idempotent_requests": """
    CREATE TABLE idempotent_requests (
        key TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        institution TEXT NOT NULL,
        claimed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        status INTEGER,
        headers JSONB,
        body TEXT,
        PRIMARY KEY (key)
    )
    """,
    "fleeting_answers": """
    CREATE UNLOGGED TABLE fleeting_answers (
        key TEXT NOT NULL,
        status INTEGER NOT NULL,
        headers JSONB NOT NULL,
        body TEXT NOT NULL,
        at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (key)
    )
    """,
    "workers": """
    CREATE TABLE workers (
        name TEXT NOT NULL,
        heard_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (name)
    )
    """,
    "period_reports": """
    CREATE TABLE period_reports (
        month TEXT NOT NULL,
        audience TEXT NOT NULL,
        body JSONB NOT NULL,
        sha256 TEXT NOT NULL,
        made_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (month, audience)
    )
    """,
}
INDEXES = (
    "CREATE INDEX ix_idempotent_requests_claimed_at ON idempotent_requests (claimed_at)",
    "CREATE INDEX ix_fleeting_answers_at ON fleeting_answers (at)",
)

AUDITED = {"period_reports": ("period_report", "month", "audience")}


def upgrade() -> None:
    for statement in (*TABLES.values(), *INDEXES):
        op.execute(statement)
    guards.audited(AUDITED)
    guards.append_only(("period_reports",))
    guards.scoped(
        {
            "idempotent_requests": "institution = (SELECT creditlab_tenant())",
            "fleeting_answers": "false",  # the platform's own
            "period_reports": "audience = (SELECT creditlab_tenant())",
        }
    )


def downgrade() -> None:
    for table in reversed(TABLES):
        op.execute(f"DROP TABLE {table}")
