"""A question for which the platform vouches goes to the nodes with the ledger's record of it (docs/decisions/0030)."""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.execute("ALTER TABLE node_questions ADD COLUMN record TEXT")


def downgrade() -> None:
    op.execute("ALTER TABLE node_questions DROP COLUMN record")
