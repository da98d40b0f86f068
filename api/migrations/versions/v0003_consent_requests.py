"""Requests for consent, the feed's chain, sanctions, recalls, events to bank systems, disputes."""

import json

import sqlalchemy as sa
from alembic import op

from api.migrations import guards
from consent.feed import START, link

revision = "0003"
down_revision = "0002"

TABLES = (
    """
    CREATE TABLE institution_standings (
        institution TEXT NOT NULL,
        ground TEXT NOT NULL,
        evidence TEXT,
        since TIMESTAMP WITH TIME ZONE NOT NULL,
        until TIMESTAMP WITH TIME ZONE,
        seq BIGINT NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (institution),
        FOREIGN KEY(institution) REFERENCES institutions (id),
        FOREIGN KEY(seq) REFERENCES feed (seq)
    )
    """,
    """
    CREATE TABLE release_shares (
        release_id TEXT NOT NULL,
        node TEXT NOT NULL,
        share DOUBLE PRECISION NOT NULL,
        seq BIGINT NOT NULL,
        at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (release_id, node),
        CONSTRAINT release_shares_share CHECK (share >= 0 and share <= 1),
        FOREIGN KEY(release_id) REFERENCES releases (id)
    )
    """,
    """
    CREATE TABLE retraining_notices (
        id TEXT NOT NULL,
        release_id TEXT NOT NULL,
        bank TEXT NOT NULL,
        share DOUBLE PRECISION NOT NULL,
        opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
        closed_at TIMESTAMP WITH TIME ZONE,
        reason TEXT,
        retrained_by TEXT,
        state TEXT NOT NULL,
        PRIMARY KEY (id),
        FOREIGN KEY(release_id) REFERENCES releases (id),
        FOREIGN KEY(bank) REFERENCES institutions (id),
        FOREIGN KEY(retrained_by) REFERENCES jobs (id)
    )
    """,
    "CREATE INDEX retraining_notices_bank ON retraining_notices (bank, state)",
    "CREATE UNIQUE INDEX retraining_notices_one_open ON retraining_notices (release_id) WHERE state = 'open'",
    """
    CREATE UNLOGGED TABLE impact_questions (
        id TEXT NOT NULL,
        node TEXT NOT NULL,
        question TEXT NOT NULL,
        answer JSONB,
        asked_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (id, node)
    )
    """,
    "CREATE INDEX impact_questions_node ON impact_questions (node) WHERE answer is null",
    """
    CREATE TABLE consent_requests (
        consent_id TEXT NOT NULL,
        enterprise TEXT NOT NULL,
        recipient TEXT NOT NULL,
        purpose TEXT NOT NULL,
        valid_until TEXT NOT NULL,
        document TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        reference TEXT,
        reason TEXT NOT NULL,
        asked_by TEXT NOT NULL,
        asked_at TIMESTAMP WITH TIME ZONE NOT NULL,
        answer_by TIMESTAMP WITH TIME ZONE NOT NULL,
        ended_at TIMESTAMP WITH TIME ZONE,
        state TEXT NOT NULL,
        PRIMARY KEY (consent_id),
        CONSTRAINT consent_requests_reference UNIQUE (recipient, reference)
    )
    """,
    "CREATE INDEX consent_requests_due ON consent_requests (answer_by) WHERE state = 'requested'",
    "CREATE INDEX consent_requests_enterprise ON consent_requests (enterprise, state, asked_at)",
    """
    CREATE UNIQUE INDEX consent_requests_one_open ON consent_requests (enterprise, recipient, purpose)
    WHERE state = 'requested'
    """,
    "CREATE INDEX consent_requests_recipient ON consent_requests (recipient, state, asked_at)",
    """
    CREATE TABLE enterprise_notices (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        enterprise TEXT NOT NULL,
        kind TEXT NOT NULL,
        object_id TEXT NOT NULL,
        at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    "CREATE INDEX enterprise_notices_enterprise ON enterprise_notices (enterprise, id)",
    """
    CREATE TABLE institution_events (
        institution TEXT NOT NULL,
        position BIGINT NOT NULL,
        kind TEXT NOT NULL,
        body JSONB NOT NULL,
        at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (institution, position),
        FOREIGN KEY(institution) REFERENCES institutions (id)
    )
    """,
    """
    CREATE TABLE institution_event_heads (
        institution TEXT NOT NULL,
        position BIGINT NOT NULL,
        acked BIGINT DEFAULT 0 NOT NULL,
        PRIMARY KEY (institution),
        FOREIGN KEY(institution) REFERENCES institutions (id)
    )
    """,
    """
    CREATE TABLE webhooks (
        id TEXT NOT NULL,
        institution TEXT NOT NULL,
        url TEXT NOT NULL,
        secret TEXT NOT NULL,
        created_by TEXT NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (id),
        FOREIGN KEY(institution) REFERENCES institutions (id),
        FOREIGN KEY(created_by) REFERENCES accounts (id)
    )
    """,
    """
    CREATE TABLE webhook_cursors (
        webhook_id TEXT NOT NULL,
        position BIGINT NOT NULL,
        attempts INTEGER NOT NULL,
        next_at TIMESTAMP WITH TIME ZONE NOT NULL,
        last_fault TEXT,
        PRIMARY KEY (webhook_id),
        FOREIGN KEY(webhook_id) REFERENCES webhooks (id)
    )
    """,
    """
    CREATE TABLE webhook_dead_letters (
        webhook_id TEXT NOT NULL,
        first BIGINT NOT NULL,
        last BIGINT NOT NULL,
        attempts INTEGER NOT NULL,
        fault TEXT NOT NULL,
        at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (webhook_id, first),
        FOREIGN KEY(webhook_id) REFERENCES webhooks (id)
    )
    """,
    """
    CREATE TABLE disputes (
        id TEXT NOT NULL,
        kind TEXT NOT NULL,
        enterprise TEXT NOT NULL,
        institution TEXT,
        consent_id TEXT,
        usage_id TEXT,
        text TEXT NOT NULL,
        opened_by TEXT NOT NULL,
        opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
        due_at TIMESTAMP WITH TIME ZONE NOT NULL,
        answer TEXT,
        answered_by TEXT,
        answered_at TIMESTAMP WITH TIME ZONE,
        ended_at TIMESTAMP WITH TIME ZONE,
        state TEXT NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT disputes_kind CHECK (kind in ('dispute', 'complaint')),
        FOREIGN KEY(institution) REFERENCES institutions (id),
        FOREIGN KEY(consent_id) REFERENCES consents (consent_id),
        FOREIGN KEY(usage_id) REFERENCES usage (id)
    )
    """,
    "CREATE INDEX disputes_due ON disputes (due_at) WHERE state = 'open'",
    "CREATE INDEX disputes_enterprise ON disputes (enterprise, state)",
)

# nobody updates, deletes or truncates these, the application included
APPEND_ONLY = ("enterprise_notices", "institution_events", "webhook_dead_letters")

# table → (kind, key columns) under which the audit names its rows
AUDITED = {
    "institution_standings": ("institution_standing", "institution"),
    "release_shares": ("release_share", "release_id", "node"),
    "retraining_notices": ("retraining_notice", "id"),
    "consent_requests": ("consent_request", "consent_id"),
    "webhooks": ("webhook", "id"),
    "disputes": ("dispute", "id"),
}


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    guards.append_only(APPEND_ONLY)
    guards.audited(AUDITED)
    op.execute(
        "CREATE INDEX consents_term ON consents (valid_until) WHERE state in ('active', 'paused')",
    )
    _chain()


def _chain() -> None:
    """Every event on record gets its link; the feed is append-only, so its guard stands aside for this alone."""
    op.execute("ALTER TABLE feed ADD COLUMN chain BYTEA")
    op.execute("ALTER TABLE feed_head ADD COLUMN chain BYTEA")
    op.execute("ALTER TABLE feed DISABLE TRIGGER append_only")
    connection, chain = op.get_bind(), START
    query = sa.text("SELECT seq, document FROM feed ORDER BY seq")
    rows = connection.execute(query, execution_options={"yield_per": 1000})
    links = []
    for seq, document in rows:
        chain = link(chain, seq, json.loads(document))
        links.append({"seq": seq, "chain": chain})
    if links:
        connection.execute(sa.text("UPDATE feed SET chain = :chain WHERE seq = :seq"), links)
    connection.execute(sa.text("UPDATE feed_head SET chain = :chain"), {"chain": chain})
    op.execute("ALTER TABLE feed ENABLE TRIGGER append_only")
    op.execute("ALTER TABLE feed ALTER COLUMN chain SET NOT NULL")
    op.execute("ALTER TABLE feed_head ALTER COLUMN chain SET NOT NULL")


def downgrade() -> None:
    op.execute("ALTER TABLE feed DROP COLUMN chain")
    op.execute("ALTER TABLE feed_head DROP COLUMN chain")
    op.execute("DROP INDEX consents_term")
    for statement in reversed(TABLES):
        words = statement.split()
        if "TABLE" in words[:3]:
            op.execute(f"DROP TABLE {words[words.index('TABLE') + 1]}")
