"""Persons' own consents: who has a pseudonym, and what was said under it (docs/decisions/0025)."""

from alembic import op

from api.migrations import guards

revision = "0011"
down_revision = "0010"

ROLE = "creditlab_app"
T = "(SELECT creditlab_tenant())"
PARTY = f"{T} IN (enterprise, recipient, provider)"

TABLES = {
    "consent_persons": """
    CREATE TABLE consent_persons (
        id TEXT NOT NULL,
        enterprise TEXT NOT NULL,
        role TEXT NOT NULL,
        person TEXT,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        retired_at TIMESTAMP WITH TIME ZONE,
        PRIMARY KEY (id),
        FOREIGN KEY(enterprise) REFERENCES enterprises (uscc),
        FOREIGN KEY(person) REFERENCES enterprise_people (id)
    )
    """,
    "person_consents": """
    CREATE TABLE person_consents (
        consent_id TEXT NOT NULL,
        person TEXT NOT NULL,
        role TEXT NOT NULL,
        enterprise TEXT NOT NULL,
        recipient TEXT NOT NULL,
        provider TEXT NOT NULL,
        purpose TEXT NOT NULL,
        offered TEXT NOT NULL,
        terms JSONB NOT NULL,
        valid_from TEXT NOT NULL,
        valid_until TEXT NOT NULL,
        evidence TEXT NOT NULL,
        public_key TEXT NOT NULL,
        state TEXT NOT NULL,
        seq BIGINT NOT NULL,
        withdrawn_seq BIGINT,
        sequence BIGINT NOT NULL,
        head_sha256 TEXT NOT NULL,
        changed_at TEXT NOT NULL,
        recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (consent_id),
        FOREIGN KEY(person) REFERENCES consent_persons (id),
        UNIQUE (seq),
        FOREIGN KEY(seq) REFERENCES feed (seq),
        FOREIGN KEY(withdrawn_seq) REFERENCES feed (seq)
    )
    """,
}
INDEXES = (
    "CREATE INDEX consent_persons_enterprise ON consent_persons (enterprise, role)",
    "CREATE UNIQUE INDEX consent_persons_one ON consent_persons (enterprise, role)"
    " WHERE role <> 'key_person' AND retired_at IS NULL",
    "CREATE INDEX person_consents_offered ON person_consents (offered, seq)",
    "CREATE INDEX person_consents_person ON person_consents (person, seq)",
    "CREATE UNIQUE INDEX person_consents_one ON person_consents (offered) WHERE state = 'active'",
)
AUDITED = {
    "consent_persons": ("consent_person", "id"),
    "person_consents": ("person_consent", "consent_id"),
}
# what was said, by whom and to what never changes: the role may not write those columns
COLUMNS = ("state", "withdrawn_seq", "sequence", "head_sha256", "changed_at")

# as migration 0006 has it, and with persons' documents
FEED = (
    "EXISTS (SELECT FROM consents WHERE consents.consent_id = feed.consent_id)"
    " OR EXISTS (SELECT FROM consent_requests WHERE consent_requests.consent_id = feed.consent_id)"
)
FEED_OF_PERSONS = f"{FEED} OR EXISTS (SELECT FROM person_consents WHERE person_consents.consent_id = feed.consent_id)"


def upgrade() -> None:
    for statement in (*TABLES.values(), *INDEXES):
        op.execute(statement)
    guards.audited(AUDITED)
    guards.scoped({"consent_persons": f"enterprise = {T}"})
    # a bank holds what a person said against a withdrawal while it uses it, and writes none
    guards.enclosed(
        "person_consents",
        ("SELECT", PARTY, None),
        ("INSERT", None, f"enterprise = {T}"),
        ("UPDATE", PARTY, f"enterprise = {T}"),
    )
    op.execute(f"REVOKE UPDATE ON person_consents FROM {ROLE}")
    op.execute(f"GRANT UPDATE ({', '.join(COLUMNS)}) ON person_consents TO {ROLE}")
    op.execute(f"ALTER POLICY tenant_select ON feed USING ({FEED_OF_PERSONS})")


def downgrade() -> None:
    op.execute(f"ALTER POLICY tenant_select ON feed USING ({FEED})")
    for table in reversed(TABLES):
        op.execute(f"DROP TABLE {table}")
