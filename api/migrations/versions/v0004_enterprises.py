"""Enterprises with their people, passkeys, one-time codes, ceremonies and sessions."""

from alembic import op

from api.migrations import guards

revision = "0004"
down_revision = "0003"

TABLES = {
    "enterprises": """
    CREATE TABLE enterprises (
        uscc TEXT NOT NULL,
        name TEXT NOT NULL,
        subject TEXT NOT NULL,
        contact_name TEXT NOT NULL,
        contact TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (uscc)
    )
    """,
    "enterprise_people": """
    CREATE TABLE enterprise_people (
        id TEXT NOT NULL,
        enterprise TEXT NOT NULL,
        name TEXT NOT NULL,
        rights TEXT[] NOT NULL,
        state TEXT NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (id),
        FOREIGN KEY(enterprise) REFERENCES enterprises (uscc)
    )
    """,
    "enterprise_passkeys": """
    CREATE TABLE enterprise_passkeys (
        id TEXT NOT NULL,
        person TEXT NOT NULL,
        public_key TEXT NOT NULL,
        label TEXT NOT NULL,
        sign_count BIGINT NOT NULL,
        backed_up BOOLEAN NOT NULL,
        state TEXT NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        used_at TIMESTAMP WITH TIME ZONE,
        PRIMARY KEY (id),
        FOREIGN KEY(person) REFERENCES enterprise_people (id)
    )
    """,
    "enterprise_codes": """
    CREATE TABLE enterprise_codes (
        id TEXT NOT NULL,
        person TEXT NOT NULL,
        use TEXT NOT NULL,
        hash BYTEA NOT NULL,
        expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
        used_at TIMESTAMP WITH TIME ZONE,
        PRIMARY KEY (id),
        FOREIGN KEY(person) REFERENCES enterprise_people (id)
    )
    """,
    "enterprise_attempts": """
    CREATE TABLE enterprise_attempts (
        seq BIGINT GENERATED ALWAYS AS IDENTITY,
        subject TEXT NOT NULL,
        at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (seq)
    )
    """,
    "enterprise_ceremonies": """
    CREATE TABLE enterprise_ceremonies (
        id TEXT NOT NULL,
        use TEXT NOT NULL,
        session TEXT,
        challenge BYTEA NOT NULL,
        body TEXT,
        expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    "enterprise_sessions": """
    CREATE TABLE enterprise_sessions (
        id TEXT NOT NULL,
        token_sha256 TEXT NOT NULL,
        kind TEXT NOT NULL,
        person TEXT NOT NULL,
        passkey TEXT,
        code TEXT,
        agent TEXT NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
        expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
        ended_at TIMESTAMP WITH TIME ZONE,
        PRIMARY KEY (id),
        UNIQUE (token_sha256),
        FOREIGN KEY(person) REFERENCES enterprise_people (id)
    )
    """,
}

INDEXES = (
    "CREATE INDEX enterprise_people_enterprise ON enterprise_people (enterprise, created_at)",
    "CREATE INDEX enterprise_passkeys_person ON enterprise_passkeys (person)",
    "CREATE INDEX enterprise_codes_person ON enterprise_codes (person, use)",
    "CREATE INDEX enterprise_attempts_subject ON enterprise_attempts (subject, at)",
    "CREATE INDEX enterprise_sessions_person ON enterprise_sessions (person, ended_at)",
)

# table → (kind, key column) under which the audit names its rows
AUDITED = {
    "enterprises": ("enterprise", "uscc"),
    "enterprise_people": ("enterprise_person", "id"),
    "enterprise_passkeys": ("passkey", "id"),
}


def upgrade() -> None:
    for statement in (*TABLES.values(), *INDEXES):
        op.execute(statement)
    guards.audited(AUDITED)


def downgrade() -> None:
    for table in reversed(TABLES):
        op.execute(f"DROP TABLE {table}")
