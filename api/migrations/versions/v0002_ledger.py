"""The transparency ledger (docs/decisions/0013, 0019): its tables, and the rule that nothing is used unlogged.

Nobody changes a row of the ledger, also not while replicating. A row that the ledger must know of (a document of the
feed, a ticket, a release, a permit to score, a usage record) cannot be committed without its entry.
"""

import sqlalchemy as sa
from alembic import op

from api.migrations import guards

revision = "0002"
down_revision = "0001"

TABLES = (
    """
    CREATE TABLE ledger_log (
        log_id TEXT NOT NULL,
        hash TEXT NOT NULL,
        opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (log_id),
        CONSTRAINT ledger_log_hash CHECK (hash in ('sha256', 'sm3'))
    )
    """,
    "CREATE UNIQUE INDEX ledger_log_one ON ledger_log ((true))",
    # the canonical bytes: jsonb would not keep them
    """
    CREATE TABLE ledger_entry (
        log_id TEXT NOT NULL,
        position BIGINT NOT NULL,
        entry BYTEA NOT NULL,
        PRIMARY KEY (log_id, position),
        CONSTRAINT ledger_entry_position CHECK (position >= 0),
        FOREIGN KEY(log_id) REFERENCES ledger_log (log_id)
    )
    """,
    # no foreign key: two checks for each hash would cost an import more than the hashes
    """
    CREATE TABLE ledger_node (
        log_id TEXT NOT NULL,
        level SMALLINT NOT NULL,
        position BIGINT NOT NULL,
        hash BYTEA NOT NULL,
        PRIMARY KEY (log_id, level, position),
        CONSTRAINT ledger_node_level CHECK (level between 0 and 52),
        CONSTRAINT ledger_node_position CHECK (position >= 0),
        CONSTRAINT ledger_node_hash CHECK (octet_length(hash) = 32)
    )
    """,
    """
    CREATE TABLE ledger_head (
        log_id TEXT NOT NULL,
        number BIGINT NOT NULL,
        size BIGINT NOT NULL,
        head BYTEA NOT NULL,
        PRIMARY KEY (log_id, number),
        CONSTRAINT ledger_head_number CHECK (number >= 0),
        CONSTRAINT ledger_head_size_positive CHECK (size >= 0),
        FOREIGN KEY(log_id) REFERENCES ledger_log (log_id)
    )
    """,
    "CREATE INDEX ledger_head_size ON ledger_head (log_id, size)",
    """
    CREATE TABLE ledger_witness (
        name TEXT NOT NULL,
        account_id TEXT NOT NULL,
        public_key TEXT NOT NULL,
        registered_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (name),
        UNIQUE (account_id),
        FOREIGN KEY(account_id) REFERENCES accounts (id)
    )
    """,
    # a cosignature comes later than its head and may overtake another
    """
    CREATE TABLE ledger_cosigned (
        log_id TEXT NOT NULL,
        number BIGINT NOT NULL,
        witness TEXT NOT NULL,
        head BYTEA NOT NULL,
        PRIMARY KEY (log_id, number, witness),
        FOREIGN KEY(log_id, number) REFERENCES ledger_head (log_id, number),
        FOREIGN KEY(witness) REFERENCES ledger_witness (name)
    )
    """,
    # private: the salts, and whose document an entry speaks of; never exported
    """
    CREATE TABLE ledger_subject (
        log_id TEXT NOT NULL,
        position BIGINT NOT NULL,
        object_kind TEXT NOT NULL,
        object_id TEXT NOT NULL,
        salt BYTEA NOT NULL,
        document TEXT,
        PRIMARY KEY (log_id, position),
        CONSTRAINT ledger_subject_salt CHECK (octet_length(salt) = 32)
    )
    """,
    "CREATE UNIQUE INDEX ledger_subject_object ON ledger_subject (object_kind, object_id)",
    # an enterprise's question to a node on its way, and the answer on its way back
    """
    CREATE UNLOGGED TABLE usage_questions (
        id TEXT NOT NULL,
        node TEXT NOT NULL,
        question TEXT NOT NULL,
        answer JSONB,
        asked_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (id, node)
    )
    """,
    "CREATE INDEX usage_questions_node ON usage_questions (node) WHERE answer is null",
)
NAMES = (
    "ledger_log",
    "ledger_entry",
    "ledger_node",
    "ledger_head",
    "ledger_witness",
    "ledger_cosigned",
    "ledger_subject",
)
AUDITED = {"ledger_witness": ("ledger_witness", "name")}

# (table, name of the trigger, events and condition, object kind, key columns)
LEDGERED = (
    ("feed", "ledgered", "INSERT", "", "feed", ("seq",)),
    ("jobs", "ledgered", "INSERT OR UPDATE OF ticket", "WHEN (NEW.ticket IS NOT NULL)", "ticket", ("id",)),
    (
        "releases",
        "ledgered",
        "INSERT OR UPDATE OF state",
        "WHEN (NEW.state IN ('approved', 'released', 'recalled'))",
        "release",
        ("id", "state"),
    ),
    ("score_permits", "ledgered", "INSERT", "", "score_permit", ("id",)),
    ("usage", "ledgered", "INSERT", "", "usage", ("id",)),
)

# Runs at commit, once for each row.
REQUIRE_LEDGER = """
CREATE FUNCTION require_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    written jsonb := to_jsonb(NEW);
    name text := written ->> TG_ARGV[1];
BEGIN
    FOR i IN 2 .. TG_NARGS - 1 LOOP
        name := name || '/' || (written ->> TG_ARGV[i]);
    END LOOP;
    IF NOT EXISTS (SELECT FROM ledger_subject WHERE object_kind = TG_ARGV[0] AND object_id = name) THEN
        RAISE EXCEPTION '% % has no ledger entry: api.ledger.service.append writes it in the same transaction',
            TG_ARGV[0], name USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    for table in ("feed", "usage"):
        if op.get_bind().scalar(sa.text(f"SELECT EXISTS (SELECT FROM {table})")):  # noqa: S608 (two known names)
            raise RuntimeError(
                f"table {table} holds rows from before the ledger, which can never be proved: start with an empty "
                "database and import the signed documents again"
            )
    for statement in TABLES:
        op.execute(statement)
    op.execute(REQUIRE_LEDGER)
    guards.append_only(NAMES)
    for table in NAMES:
        # a session that poses as a replica would step over an ordinary trigger
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only")
    guards.audited(AUDITED)
    op.execute("ALTER TABLE usage ADD COLUMN permit_id TEXT")
    op.execute("ALTER TABLE usage ADD COLUMN document TEXT NOT NULL")
    for table, trigger, events, condition, kind, columns in LEDGERED:
        quoted = ", ".join(f"'{argument}'" for argument in (kind, *columns))
        op.execute(
            f"CREATE CONSTRAINT TRIGGER {trigger} AFTER {events} ON {table} DEFERRABLE INITIALLY DEFERRED "
            f"FOR EACH ROW {condition} EXECUTE FUNCTION require_ledger({quoted})"
        )
    op.execute("ALTER TABLE institutions DROP CONSTRAINT institutions_kind")
    op.execute(
        "ALTER TABLE institutions ADD CONSTRAINT institutions_kind "
        "CHECK (kind in ('bank', 'lab', 'platform', 'witness'))"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE institutions DROP CONSTRAINT institutions_kind")
    op.execute("ALTER TABLE institutions ADD CONSTRAINT institutions_kind CHECK (kind in ('bank', 'lab', 'platform'))")
    for table, trigger, *_ in LEDGERED:
        op.execute(f"DROP TRIGGER {trigger} ON {table}")
    op.execute("ALTER TABLE usage DROP COLUMN document")
    op.execute("ALTER TABLE usage DROP COLUMN permit_id")
    op.execute("DROP TABLE usage_questions")
    for table in reversed(NAMES):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION require_ledger()")
