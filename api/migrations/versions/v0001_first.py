"""First schema: institutions, accounts, audit, consents and their feed, nodes, jobs, releases, usage and scores.

Besides tables it makes the two rules that hold for every client of the database: some tables are append-only, and
a row of an audited table cannot be committed without its audit row.
"""

from alembic import op

from api.migrations import guards

revision = "0001"
down_revision = None

TABLES = (
    """
    CREATE TABLE institutions (
        id TEXT NOT NULL,
        name TEXT NOT NULL,
        kind TEXT NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT institutions_kind CHECK (kind in ('bank', 'lab', 'platform'))
    )
    """,
    """
    CREATE TABLE accounts (
        id TEXT NOT NULL,
        name TEXT NOT NULL,
        institution TEXT NOT NULL,
        roles TEXT[] NOT NULL,
        token_sha256 TEXT NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        disabled_at TIMESTAMP WITH TIME ZONE,
        PRIMARY KEY (id),
        UNIQUE (name),
        FOREIGN KEY(institution) REFERENCES institutions (id),
        UNIQUE (token_sha256)
    )
    """,
    """
    CREATE TABLE audit (
        seq BIGINT GENERATED ALWAYS AS IDENTITY,
        at TIMESTAMP WITH TIME ZONE NOT NULL,
        actor TEXT NOT NULL,
        actor_name TEXT NOT NULL,
        institution TEXT NOT NULL,
        action TEXT NOT NULL,
        object_kind TEXT NOT NULL,
        object_id TEXT NOT NULL,
        from_state TEXT,
        to_state TEXT,
        reason TEXT NOT NULL,
        detail JSONB DEFAULT '{}'::jsonb NOT NULL,
        txid BIGINT DEFAULT (pg_current_xact_id()::text)::bigint NOT NULL,
        PRIMARY KEY (seq)
    )
    """,
    "CREATE INDEX audit_object ON audit (object_kind, object_id, txid)",
    """
    CREATE TABLE feed (
        seq BIGINT NOT NULL,
        kind TEXT NOT NULL,
        consent_id TEXT NOT NULL,
        document TEXT NOT NULL,
        recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (seq),
        CONSTRAINT feed_seq_positive CHECK (seq > 0)
    )
    """,
    "CREATE INDEX feed_consent ON feed (consent_id)",
    """
    CREATE TABLE feed_head (
        one BOOLEAN NOT NULL,
        seq BIGINT NOT NULL,
        PRIMARY KEY (one),
        CONSTRAINT feed_head_one_row CHECK (one)
    )
    """,
    """
    CREATE TABLE consents (
        consent_id TEXT NOT NULL,
        enterprise TEXT NOT NULL,
        recipient TEXT NOT NULL,
        provider TEXT NOT NULL,
        purpose TEXT NOT NULL,
        valid_from TEXT NOT NULL,
        valid_until TEXT NOT NULL,
        public_key TEXT NOT NULL,
        document_sha256 TEXT NOT NULL,
        seq BIGINT NOT NULL,
        withdrawn_at TEXT,
        withdrawn_seq BIGINT,
        terms JSONB NOT NULL,
        supersedes TEXT,
        sequence BIGINT NOT NULL,
        head_sha256 TEXT NOT NULL,
        changed_at TEXT NOT NULL,
        imported_at TIMESTAMP WITH TIME ZONE NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (consent_id),
        UNIQUE (seq),
        FOREIGN KEY(seq) REFERENCES feed (seq),
        FOREIGN KEY(withdrawn_seq) REFERENCES feed (seq)
    )
    """,
    "CREATE INDEX consents_recipient ON consents (recipient, purpose, state)",
    "CREATE INDEX consents_subject ON consents (enterprise, recipient, purpose, seq)",
    """
    CREATE TABLE nodes (
        name TEXT NOT NULL,
        account_id TEXT NOT NULL,
        role TEXT NOT NULL,
        institution TEXT NOT NULL,
        relay TEXT,
        zone_key TEXT,
        datasets JSONB NOT NULL,
        registered_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (name),
        UNIQUE (account_id),
        FOREIGN KEY(account_id) REFERENCES accounts (id),
        FOREIGN KEY(institution) REFERENCES institutions (id)
    )
    """,
    """
    CREATE TABLE heartbeats (
        node TEXT NOT NULL,
        heard_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (node)
    )
    """,
    """
    CREATE TABLE jobs (
        id TEXT NOT NULL,
        project TEXT NOT NULL,
        dataset TEXT NOT NULL,
        bank TEXT NOT NULL,
        bank_node TEXT NOT NULL,
        lab TEXT NOT NULL,
        lab_node TEXT NOT NULL,
        mode TEXT NOT NULL,
        recipe JSONB NOT NULL,
        proposal JSONB NOT NULL,
        cause JSONB,
        retry_of TEXT,
        requested_by TEXT NOT NULL,
        requested_at TIMESTAMP WITH TIME ZONE NOT NULL,
        ticket TEXT,
        ticket_sha256 TEXT,
        approved_at TIMESTAMP WITH TIME ZONE,
        expires_at TIMESTAMP WITH TIME ZONE,
        started_at TIMESTAMP WITH TIME ZONE,
        settle_at TIMESTAMP WITH TIME ZONE,
        ended_at TIMESTAMP WITH TIME ZONE,
        state TEXT NOT NULL,
        PRIMARY KEY (id),
        FOREIGN KEY(bank) REFERENCES institutions (id),
        FOREIGN KEY(lab) REFERENCES institutions (id),
        FOREIGN KEY(retry_of) REFERENCES jobs (id),
        FOREIGN KEY(requested_by) REFERENCES accounts (id)
    )
    """,
    "CREATE INDEX jobs_open ON jobs (state) WHERE state in ('approved', 'running')",
    "CREATE INDEX jobs_requested ON jobs (requested_at)",
    """
    CREATE TABLE job_parties (
        job_id TEXT NOT NULL,
        party TEXT NOT NULL,
        institution TEXT NOT NULL,
        node TEXT NOT NULL,
        code TEXT,
        message TEXT,
        message_zh TEXT,
        started_at TIMESTAMP WITH TIME ZONE,
        ended_at TIMESTAMP WITH TIME ZONE,
        state TEXT NOT NULL,
        PRIMARY KEY (job_id, party),
        FOREIGN KEY(job_id) REFERENCES jobs (id)
    )
    """,
    "CREATE INDEX job_parties_node ON job_parties (node, state)",
    """
    CREATE TABLE job_approvals (
        job_id TEXT NOT NULL,
        capacity TEXT NOT NULL,
        account_id TEXT NOT NULL,
        account_name TEXT NOT NULL,
        decision TEXT NOT NULL,
        reason TEXT NOT NULL,
        at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (job_id, capacity),
        CONSTRAINT job_approvals_one_person_one_word UNIQUE (job_id, account_id),
        FOREIGN KEY(job_id) REFERENCES jobs (id),
        FOREIGN KEY(account_id) REFERENCES accounts (id)
    )
    """,
    """
    CREATE TABLE job_events (
        job_id TEXT NOT NULL,
        seq BIGINT NOT NULL,
        at TIMESTAMP WITH TIME ZONE NOT NULL,
        received_at TIMESTAMP WITH TIME ZONE NOT NULL,
        party TEXT,
        node TEXT,
        kind TEXT NOT NULL,
        body JSONB NOT NULL,
        PRIMARY KEY (job_id, seq),
        FOREIGN KEY(job_id) REFERENCES jobs (id)
    )
    """,
    """
    CREATE TABLE job_reports (
        job_id TEXT NOT NULL,
        report TEXT NOT NULL,
        model_sha256 TEXT NOT NULL,
        node TEXT NOT NULL,
        received_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (job_id),
        FOREIGN KEY(job_id) REFERENCES jobs (id)
    )
    """,
    """
    CREATE TABLE usage (
        id TEXT NOT NULL,
        at TIMESTAMP WITH TIME ZONE NOT NULL,
        account_id TEXT NOT NULL,
        user_name TEXT NOT NULL,
        institution TEXT NOT NULL,
        reason TEXT NOT NULL,
        content TEXT NOT NULL,
        object_kind TEXT NOT NULL,
        object_id TEXT NOT NULL,
        purpose TEXT NOT NULL,
        consent_id TEXT,
        job_id TEXT,
        release_id TEXT,
        PRIMARY KEY (id)
    )
    """,
    "CREATE INDEX usage_institution ON usage (institution, at)",
    "CREATE INDEX usage_object ON usage (object_kind, object_id, at)",
    """
    CREATE TABLE usage_outcomes (
        usage_id TEXT NOT NULL,
        at TIMESTAMP WITH TIME ZONE NOT NULL,
        outcome TEXT NOT NULL,
        code TEXT,
        PRIMARY KEY (usage_id),
        FOREIGN KEY(usage_id) REFERENCES usage (id)
    )
    """,
    """
    CREATE TABLE releases (
        id TEXT NOT NULL,
        job_id TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        requested_by TEXT NOT NULL,
        requested_at TIMESTAMP WITH TIME ZONE NOT NULL,
        reason TEXT NOT NULL,
        release_order TEXT,
        cause JSONB,
        approved_at TIMESTAMP WITH TIME ZONE,
        released_at TIMESTAMP WITH TIME ZONE,
        state TEXT NOT NULL,
        PRIMARY KEY (id),
        FOREIGN KEY(job_id) REFERENCES jobs (id),
        FOREIGN KEY(requested_by) REFERENCES accounts (id)
    )
    """,
    "CREATE INDEX releases_job ON releases (job_id, requested_at)",
    """
    CREATE UNIQUE INDEX releases_one_open ON releases (job_id)
    WHERE state in ('approved', 'partially_reviewed', 'pending', 'released', 'reviewed', 'submitted')
    """,
    "CREATE INDEX releases_sha256 ON releases (sha256, state)",
    """
    CREATE TABLE release_reviews (
        release_id TEXT NOT NULL,
        account_id TEXT NOT NULL,
        account_name TEXT NOT NULL,
        decision TEXT NOT NULL,
        comment TEXT NOT NULL,
        at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (release_id, account_id),
        FOREIGN KEY(release_id) REFERENCES releases (id),
        FOREIGN KEY(account_id) REFERENCES accounts (id)
    )
    """,
    """
    CREATE TABLE release_confirmations (
        release_id TEXT NOT NULL,
        node TEXT NOT NULL,
        outcome TEXT NOT NULL,
        bytes BIGINT,
        code TEXT,
        message TEXT,
        message_zh TEXT,
        at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (release_id, node),
        FOREIGN KEY(release_id) REFERENCES releases (id)
    )
    """,
    """
    CREATE TABLE score_permits (
        id TEXT NOT NULL,
        usage_id TEXT NOT NULL,
        release_id TEXT NOT NULL,
        release_sha256 TEXT NOT NULL,
        node TEXT NOT NULL,
        permit TEXT NOT NULL,
        issued_at TIMESTAMP WITH TIME ZONE NOT NULL,
        expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (id),
        UNIQUE (usage_id),
        FOREIGN KEY(usage_id) REFERENCES usage (id),
        FOREIGN KEY(release_id) REFERENCES releases (id)
    )
    """,
    "CREATE INDEX score_permits_node ON score_permits (node) WHERE state = 'pending'",
    """
    CREATE UNLOGGED TABLE score_answers (
        permit_id TEXT NOT NULL,
        body JSONB NOT NULL,
        at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (permit_id)
    )
    """,
)

# nobody updates, deletes or truncates these, the application included
APPEND_ONLY = (
    "audit",
    "feed",
    "usage",
    "usage_outcomes",
    "job_events",
    "job_approvals",
    "job_reports",
    "release_reviews",
    "release_confirmations",
)

# table → (kind, key columns) under which the audit names its rows
AUDITED = {
    "institutions": ("institution", "id"),
    "accounts": ("account", "id"),
    "consents": ("consent", "consent_id"),
    "nodes": ("node", "name"),
    "jobs": ("job", "id"),
    "job_parties": ("job_party", "job_id", "party"),
    "job_approvals": ("job_approval", "job_id", "capacity"),
    "job_reports": ("job_report", "job_id"),
    "usage": ("usage", "id"),
    "usage_outcomes": ("usage_outcome", "usage_id"),
    "releases": ("release", "id"),
    "release_reviews": ("release_review", "release_id", "account_id"),
    "release_confirmations": ("release_confirmation", "release_id", "node"),
    "score_permits": ("score_permit", "id"),
}

REFUSE_CHANGE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table % is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$
"""

# Runs at commit, once for each written row. A change of state needs an audit row that names the new state.
REQUIRE_AUDIT = """
CREATE FUNCTION require_audit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    written jsonb;
    name text;
    moved text;
BEGIN
    IF TG_OP = 'DELETE' THEN
        written := to_jsonb(OLD);
    ELSE
        written := to_jsonb(NEW);
    END IF;
    name := written ->> TG_ARGV[1];
    FOR i IN 2 .. TG_NARGS - 1 LOOP
        name := name || '/' || (written ->> TG_ARGV[i]);
    END LOOP;
    IF TG_OP = 'INSERT' THEN
        moved := written ->> 'state';
    ELSIF TG_OP = 'UPDATE' AND to_jsonb(OLD) ->> 'state' IS DISTINCT FROM written ->> 'state' THEN
        moved := written ->> 'state';
    END IF;
    IF NOT EXISTS (
        SELECT FROM audit
        WHERE object_kind = TG_ARGV[0] AND object_id = name
          AND txid = (pg_current_xact_id()::text)::bigint
          AND (moved IS NULL OR to_state = moved)
    ) THEN
        RAISE EXCEPTION '% of % % has no audit row in its transaction', TG_OP, TG_ARGV[0], name
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    op.execute("INSERT INTO feed_head (one, seq) VALUES (true, 0)")
    op.execute(REFUSE_CHANGE)
    op.execute(REQUIRE_AUDIT)
    guards.append_only(APPEND_ONLY)
    guards.audited(AUDITED)


def downgrade() -> None:
    for statement in reversed(TABLES):
        words = statement.split()
        if "TABLE" in words[:3]:
            op.execute(f"DROP TABLE {words[words.index('TABLE') + 1]}")
    op.execute("DROP FUNCTION require_audit()")
    op.execute("DROP FUNCTION refuse_change()")
