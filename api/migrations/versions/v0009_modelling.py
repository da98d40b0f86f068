"""Projects with the decisions on them, and templates of jobs."""

from alembic import op

from api.migrations import guards

MINE = "(SELECT creditlab_tenant())"

revision = "0009"
down_revision = "0008"

TABLES = {
    "projects": """
    CREATE TABLE projects (
        id TEXT NOT NULL,
        title TEXT NOT NULL,
        bank TEXT NOT NULL,
        lab TEXT NOT NULL,
        purpose TEXT NOT NULL,
        modes TEXT[] NOT NULL,
        recipes TEXT[] NOT NULL,
        label TEXT NOT NULL,
        agreement JSONB NOT NULL,
        valid_until TIMESTAMP WITH TIME ZONE NOT NULL,
        proposed_by TEXT NOT NULL,
        proposed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        ended_at TIMESTAMP WITH TIME ZONE,
        state TEXT NOT NULL,
        version INTEGER NOT NULL,
        PRIMARY KEY (id),
        FOREIGN KEY(bank) REFERENCES institutions (id),
        FOREIGN KEY(lab) REFERENCES institutions (id)
    )
    """,
    "project_decisions": """
    CREATE TABLE project_decisions (
        project_id TEXT NOT NULL,
        capacity TEXT NOT NULL,
        account_id TEXT NOT NULL,
        account_name TEXT NOT NULL,
        decision TEXT NOT NULL,
        reason TEXT NOT NULL,
        at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (project_id, capacity),
        FOREIGN KEY(project_id) REFERENCES projects (id)
    )
    """,
    "job_templates": """
    CREATE TABLE job_templates (
        id TEXT NOT NULL,
        institution TEXT NOT NULL,
        title TEXT NOT NULL,
        title_zh TEXT NOT NULL,
        proposal JSONB NOT NULL,
        created_by TEXT NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        retired_at TIMESTAMP WITH TIME ZONE,
        PRIMARY KEY (id),
        FOREIGN KEY(institution) REFERENCES institutions (id)
    )
    """,
}
AUDITED = {
    "projects": ("project", "id"),
    "project_decisions": ("project_decision", "project_id", "capacity"),
    "job_templates": ("job_template", "id"),
}


def upgrade() -> None:
    for statement in TABLES.values():
        op.execute(statement)
    guards.audited(AUDITED)
    guards.append_only(("project_decisions",))
    party = f"bank = {MINE} OR lab = {MINE}"
    guards.scoped(
        {
            "projects": party,
            # a policy's own look at another table is under that table's policy
            "project_decisions": "EXISTS (SELECT FROM projects p WHERE p.id = project_id)",
        }
    )
    guards.enclosed(
        "job_templates",
        ("SELECT", f"institution IN ({MINE}, 'platform')", None),
        ("INSERT", None, f"institution = {MINE}"),
        ("UPDATE", f"institution = {MINE}", f"institution = {MINE}"),
    )


def downgrade() -> None:
    for table in reversed(TABLES):
        op.execute(f"DROP TABLE {table}")
