"""Permits of every kind in one table: to score, and to be told data. What is asked goes beside them in transit."""

from alembic import op

from api.migrations import guards

revision = "0012"
down_revision = "0011"

T = "(SELECT creditlab_tenant())"
RENAMED = {"score_permits": "permits"}
AUDITED = {"permits": ("permit", "id")}
NAMES = ("pkey", "usage_id_key", "usage_id_fkey", "release_id_fkey")

OF_RELEASE = "EXISTS (SELECT FROM releases WHERE releases.id = {table}.release_id)"
# the bank whose use it is, and the lab whose node answers; usage itself says who sees which use
OF_DATA = (
    "EXISTS (SELECT FROM usage WHERE usage.id = permits.usage_id) OR EXISTS"
    " (SELECT FROM nodes WHERE nodes.name = permits.node AND nodes.institution = (SELECT creditlab_tenant()))"
)
SEEN = (
    f"{T} = 'platform' OR (kind = 'score' AND {OF_RELEASE.format(table='permits')}) OR (kind = 'data' AND ({OF_DATA}))"
)
SEEN_BEFORE = f"{T} = 'platform' OR ({OF_RELEASE.format(table='score_permits')})"


def _ledgered(table: str, trigger: str, kind: str, condition: str) -> None:
    op.execute(
        f"CREATE CONSTRAINT TRIGGER {trigger} AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED "
        f"FOR EACH ROW {condition} EXECUTE FUNCTION require_ledger('{kind}', 'id')"
    )


def _rename(before: str, after: str) -> None:
    op.execute(f"ALTER TABLE {before} RENAME TO {after}")
    for name in NAMES:
        op.execute(f"ALTER TABLE {after} RENAME CONSTRAINT {before}_{name} TO {after}_{name}")
    op.execute(f"ALTER INDEX {before}_node RENAME TO {after}_node")


def upgrade() -> None:
    op.execute("DROP TRIGGER audited ON score_permits")
    op.execute("DROP TRIGGER ledgered ON score_permits")
    _rename("score_permits", "permits")
    op.execute("ALTER TABLE permits ADD COLUMN kind TEXT NOT NULL DEFAULT 'score'")
    op.execute("ALTER TABLE permits ALTER COLUMN kind DROP DEFAULT")
    for column in ("release_id", "release_sha256"):
        op.execute(f"ALTER TABLE permits ALTER COLUMN {column} DROP NOT NULL")
    for name, check in (
        ("kind", "kind in ('score', 'data')"),
        ("release", "(kind = 'score') = (release_id IS NOT NULL)"),
        ("release_sha256", "(release_id IS NULL) = (release_sha256 IS NULL)"),
    ):
        op.execute(f"ALTER TABLE permits ADD CONSTRAINT permits_{name} CHECK ({check})")
    guards.audited(AUDITED)
    _ledgered("permits", "ledgered", "score_permit", "WHEN (NEW.kind = 'score')")
    _ledgered("permits", "ledgered_data", "data_permit", "WHEN (NEW.kind = 'data')")
    op.execute(f"ALTER POLICY tenant ON permits USING ({SEEN})")
    # in transit only: nothing in it is worth carrying over
    op.execute("DROP TABLE score_answers")
    op.execute(
        """
        CREATE UNLOGGED TABLE permit_transit (
            permit_id TEXT NOT NULL,
            request JSONB,
            answer JSONB,
            at TIMESTAMP WITH TIME ZONE NOT NULL,
            PRIMARY KEY (permit_id)
        )
        """
    )
    guards.scoped({"permit_transit": "EXISTS (SELECT FROM permits WHERE permits.id = permit_transit.permit_id)"})


def downgrade() -> None:
    op.execute("DROP TABLE permit_transit")
    for trigger in ("audited", "ledgered", "ledgered_data"):
        op.execute(f"DROP TRIGGER {trigger} ON permits")
    op.execute("SELECT set_config('creditlab.tenant', 'platform', true)")
    # there is no place for them before this; what was used stays on record and in the ledger
    op.execute(
        """
        WITH gone AS (DELETE FROM permits WHERE kind = 'data' RETURNING id, state)
        INSERT INTO audit (at, actor, actor_name, institution, action, object_kind, object_id, from_state, reason)
        SELECT now(), 'system', 'system', 'platform', 'data.forget', 'permit', id, state,
               'the version that is gone back to knows no permits to be told data'
        FROM gone
        """
    )
    op.execute("SET CONSTRAINTS ALL IMMEDIATE")
    op.execute("SET CONSTRAINTS ALL DEFERRED")
    for name in ("kind", "release", "release_sha256"):
        op.execute(f"ALTER TABLE permits DROP CONSTRAINT permits_{name}")
    for column in ("release_id", "release_sha256"):
        op.execute(f"ALTER TABLE permits ALTER COLUMN {column} SET NOT NULL")
    op.execute(f"ALTER POLICY tenant ON permits USING ({T} = 'platform')")  # lets go of the column
    op.execute("ALTER TABLE permits DROP COLUMN kind")
    _rename("permits", "score_permits")
    op.execute(f"ALTER POLICY tenant ON score_permits USING ({SEEN_BEFORE})")
    guards.audited({"score_permits": ("score_permit", "id")})
    _ledgered("score_permits", "ledgered", "score_permit", "")
    op.execute(
        """
        CREATE UNLOGGED TABLE score_answers (
            permit_id TEXT NOT NULL,
            body JSONB NOT NULL,
            at TIMESTAMP WITH TIME ZONE NOT NULL,
            PRIMARY KEY (permit_id)
        )
        """
    )
    guards.scoped(
        {"score_answers": "EXISTS (SELECT FROM score_permits WHERE score_permits.id = score_answers.permit_id)"}
    )
