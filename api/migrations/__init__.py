"""The schema's history (Alembic), run at start by whoever owns the tables.

Never runs as the role under which the control plane works: `Database.owner` is for this and for nothing else.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

# one process migrates, others wait: any constant will do
_LOCK = 7_220_115
ROLE = "creditlab_app"

# what is append-only by trigger is so by privilege too, whichever migration made it; the history is the owner's
_SEAL = """
DO $$ DECLARE one regclass; BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'creditlab_app') THEN RETURN; END IF;
    FOR one IN SELECT tgrelid::regclass FROM pg_trigger WHERE tgname = 'append_only' LOOP
        EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %s FROM creditlab_app', one);
    END LOOP;
    REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON alembic_version FROM creditlab_app;
END $$
"""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config


def upgrade(engine: sa.Engine, revision: str = "head") -> None:
    """Brings the database to `revision`. Safe when several processes start at once."""
    config = _config()
    with engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.execute(sa.text(_SEAL))


def downgrade(engine: sa.Engine, revision: str) -> None:
    config = _config()
    with engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def make_role(connection: sa.Connection) -> None:
    """The role that the control plane works as: it owns nothing. A server has it once, whatever databases it holds."""
    connection.execute(
        sa.text(
            f"""
            DO $$ BEGIN
                IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN
                    CREATE ROLE {ROLE} NOLOGIN NOINHERIT;
                END IF;
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
            END $$
            """
        )
    )
    # an owner who is no superuser must be allowed to step down to it
    connection.execute(
        sa.text(
            f"""
            DO $$ BEGIN
                IF NOT pg_has_role(current_user, '{ROLE}', 'SET') THEN
                    GRANT {ROLE} TO CURRENT_USER WITH SET TRUE;
                END IF;
            END $$
            """
        )
    )
