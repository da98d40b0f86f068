"""Row-level security of every tenant's table (docs/decisions/0021); staff, their sessions, admission of institutions.

A tenant is an institution or an enterprise. Where one act touches another tenant's rows in the same transaction, a
policy names exactly that, or a function does exactly that: `tell_institutions`, `account_names`, `enterprise_known`,
`institution_state` and `enterprise_disputed` are the whole list.
"""

from alembic import op

from api.migrations import guards

revision = "0006"
down_revision = "0005"

ROLE = "creditlab_app"
KINDS = ("bank", "lab", "platform", "witness")
T = "(SELECT creditlab_tenant())"
SOMEBODY = f"{T} IS NOT NULL"
OF_JOB = "EXISTS (SELECT FROM jobs WHERE jobs.id = {table}.job_id)"
OF_RELEASE = "EXISTS (SELECT FROM releases WHERE releases.id = {table}.release_id)"
OF_PERSON = "EXISTS (SELECT FROM enterprise_people WHERE enterprise_people.id = {table}.person)"
OF_WEBHOOK = "EXISTS (SELECT FROM webhooks WHERE webhooks.id = {table}.webhook_id)"
OF_LAB = f"EXISTS (SELECT FROM institutions WHERE institutions.id = {T} AND institutions.kind = 'lab')"
OWN_CONSENT = f"enterprise = {T}"
PARTY_OF_CONSENT = f"{T} IN (enterprise, recipient, provider)"
OF_USE = f"""
    institution = {T} OR (object_kind = 'enterprise' AND object_id = {T})
    OR (object_kind = 'job' AND EXISTS (SELECT FROM jobs WHERE jobs.id = usage.job_id))
"""

# the tenant reads and writes these rows alike
SCOPED = {
    "accounts": f"institution = {T}",
    "jobs": f"{T} IN (bank, lab)",
    "job_parties": OF_JOB.format(table="job_parties"),
    "job_approvals": OF_JOB.format(table="job_approvals"),
    "job_events": OF_JOB.format(table="job_events"),
    "job_reports": OF_JOB.format(table="job_reports"),
    "releases": OF_JOB.format(table="releases"),
    "release_reviews": OF_RELEASE.format(table="release_reviews"),
    "release_confirmations": OF_RELEASE.format(table="release_confirmations"),
    "release_shares": OF_RELEASE.format(table="release_shares"),
    # a lab's node reports the share that opens its bank's notice
    "retraining_notices": f"bank = {T} OR " + OF_RELEASE.format(table="retraining_notices"),
    "score_permits": OF_RELEASE.format(table="score_permits"),
    "score_answers": "EXISTS (SELECT FROM score_permits WHERE score_permits.id = score_answers.permit_id)",
    "webhooks": f"institution = {T}",
    "webhook_cursors": OF_WEBHOOK.format(table="webhook_cursors"),
    "webhook_dead_letters": OF_WEBHOOK.format(table="webhook_dead_letters"),
    "disputes": f"{T} IN (enterprise, institution)",
    "enterprises": f"uscc = {T}",
    "enterprise_people": f"enterprise = {T}",
    "enterprise_passkeys": OF_PERSON.format(table="enterprise_passkeys"),
    "enterprise_codes": OF_PERSON.format(table="enterprise_codes"),
    "enterprise_sessions": OF_PERSON.format(table="enterprise_sessions"),
    "enterprise_ceremonies": (
        "EXISTS (SELECT FROM enterprise_sessions WHERE enterprise_sessions.id = enterprise_ceremonies.session)"
    ),
}

# reading and writing differ: (command, rows seen, rows written)
ENCLOSED: dict[str, tuple[tuple[str, str | None, str | None], ...]] = {
    # directories: names and standing, no person
    "institutions": (("SELECT", SOMEBODY, None),),
    "institution_standings": (("SELECT", SOMEBODY, None),),
    # a bank sees whose data it may work with, a lab also who works with its own
    "nodes": (
        ("SELECT", f"institution = {T} OR (role = 'lab' AND {SOMEBODY}) OR {OF_LAB}", None),
        ("INSERT", None, f"institution = {T}"),
        ("UPDATE", f"institution = {T}", f"institution = {T}"),
    ),
    "audit": (("SELECT", f"institution = {T}", None), ("INSERT", None, f"institution = {T}")),
    # a bank holds a consent against a withdrawal while it uses it (FOR SHARE needs the update policy), and writes none
    "consents": (
        ("SELECT", PARTY_OF_CONSENT, None),
        ("INSERT", None, OWN_CONSENT),
        ("UPDATE", PARTY_OF_CONSENT, OWN_CONSENT),
    ),
    "consent_requests": (
        ("SELECT", f"{T} IN (enterprise, recipient)", None),
        ("INSERT", None, f"recipient = {T}"),
        ("UPDATE", f"{T} IN (enterprise, recipient)", f"{T} IN (enterprise, recipient)"),
    ),
    "feed": (
        (
            "SELECT",
            "EXISTS (SELECT FROM consents WHERE consents.consent_id = feed.consent_id)"
            " OR EXISTS (SELECT FROM consent_requests WHERE consent_requests.consent_id = feed.consent_id)",
            None,
        ),
        ("INSERT", None, SOMEBODY),
    ),
    # the outbox to enterprises: anybody puts something in, only the addressee reads
    "enterprise_notices": (("SELECT", f"enterprise = {T}", None), ("INSERT", None, SOMEBODY)),
    "institution_events": (("SELECT", f"institution = {T}", None),),
    "institution_event_heads": (
        ("SELECT", f"institution = {T}", None),
        ("UPDATE", f"institution = {T}", f"institution = {T}"),
    ),
    # the lab's data owner may be the one whose approval begins the bank's use
    "usage": (
        ("SELECT", OF_USE, None),
        (
            "INSERT",
            None,
            f"institution = {T} OR (object_kind = 'job' AND EXISTS"
            " (SELECT FROM jobs WHERE jobs.id = usage.job_id AND jobs.bank = usage.institution))",
        ),
    ),
    "usage_outcomes": (
        ("SELECT", "EXISTS (SELECT FROM usage WHERE usage.id = usage_outcomes.usage_id)", None),
        ("INSERT", None, "EXISTS (SELECT FROM usage WHERE usage.id = usage_outcomes.usage_id)"),
    ),
    "enterprise_attempts": (),
}

# who a consent is between never changes: the role may not write those columns
CONSENT_COLUMNS = ("state", "withdrawn_at", "withdrawn_seq", "sequence", "head_sha256", "changed_at")

TABLES = {
    "api_tokens": """
    CREATE TABLE api_tokens (
        id TEXT NOT NULL,
        account TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        expires_at TIMESTAMP WITH TIME ZONE,
        ended_at TIMESTAMP WITH TIME ZONE,
        PRIMARY KEY (id),
        UNIQUE (sha256),
        FOREIGN KEY(account) REFERENCES accounts (id)
    )
    """,
    "staff": """
    CREATE TABLE staff (
        id TEXT NOT NULL,
        name TEXT NOT NULL,
        contact TEXT NOT NULL,
        post TEXT NOT NULL,
        state TEXT NOT NULL,
        password TEXT,
        password_at TIMESTAMP WITH TIME ZONE,
        totp TEXT,
        totp_step BIGINT NOT NULL,
        external TEXT,
        failures INTEGER NOT NULL,
        locked_until TIMESTAMP WITH TIME ZONE,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        left_on DATE,
        PRIMARY KEY (id),
        CONSTRAINT staff_external UNIQUE (external),
        FOREIGN KEY(id) REFERENCES accounts (id)
    )
    """,
    "staff_codes": """
    CREATE TABLE staff_codes (
        id TEXT NOT NULL,
        staff TEXT NOT NULL,
        hash BYTEA NOT NULL,
        expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
        used_at TIMESTAMP WITH TIME ZONE,
        PRIMARY KEY (id),
        FOREIGN KEY(staff) REFERENCES staff (id)
    )
    """,
    "staff_passkeys": """
    CREATE TABLE staff_passkeys (
        id TEXT NOT NULL,
        staff TEXT NOT NULL,
        public_key TEXT NOT NULL,
        label TEXT NOT NULL,
        sign_count BIGINT NOT NULL,
        state TEXT NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        used_at TIMESTAMP WITH TIME ZONE,
        PRIMARY KEY (id),
        FOREIGN KEY(staff) REFERENCES staff (id)
    )
    """,
    "staff_sessions": """
    CREATE TABLE staff_sessions (
        id TEXT NOT NULL,
        account TEXT NOT NULL,
        token_sha256 TEXT NOT NULL,
        method TEXT NOT NULL,
        address TEXT NOT NULL,
        agent TEXT NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
        expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
        ended_at TIMESTAMP WITH TIME ZONE,
        PRIMARY KEY (id),
        UNIQUE (token_sha256),
        FOREIGN KEY(account) REFERENCES accounts (id)
    )
    """,
    "staff_login_states": """
    CREATE TABLE staff_login_states (
        id TEXT NOT NULL,
        nonce TEXT NOT NULL,
        verifier TEXT NOT NULL,
        expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    "account_sanctions": """
    CREATE TABLE account_sanctions (
        id TEXT NOT NULL,
        account TEXT NOT NULL,
        duties TEXT[],
        ground TEXT NOT NULL,
        evidence TEXT,
        since TIMESTAMP WITH TIME ZONE NOT NULL,
        until TIMESTAMP WITH TIME ZONE,
        state TEXT NOT NULL,
        PRIMARY KEY (id),
        FOREIGN KEY(account) REFERENCES accounts (id)
    )
    """,
    "onboardings": """
    CREATE TABLE onboardings (
        institution TEXT NOT NULL,
        state TEXT NOT NULL,
        agreement TEXT,
        signed_on DATE,
        assessment TEXT,
        assessor TEXT,
        assessed_on DATE,
        PRIMARY KEY (institution),
        FOREIGN KEY(institution) REFERENCES institutions (id)
    )
    """,
    "admissions": """
    CREATE TABLE admissions (
        id TEXT NOT NULL,
        kind TEXT NOT NULL,
        institution TEXT NOT NULL,
        institution_name TEXT NOT NULL,
        bank_code TEXT,
        dated DATE NOT NULL,
        effective_on DATE NOT NULL,
        admins JSONB NOT NULL,
        network_contact JSONB NOT NULL,
        submitted_by TEXT NOT NULL,
        submitted_at TIMESTAMP WITH TIME ZONE NOT NULL,
        opinion TEXT,
        decided_by TEXT,
        decided_at TIMESTAMP WITH TIME ZONE,
        state TEXT NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT admissions_kind CHECK (kind in ('open', 'revoke', 'reset', 'change')),
        FOREIGN KEY(submitted_by) REFERENCES accounts (id),
        FOREIGN KEY(decided_by) REFERENCES accounts (id)
    )
    """,
    "certifications": """
    CREATE TABLE certifications (
        institution TEXT NOT NULL,
        enterprise TEXT NOT NULL,
        certified_by TEXT NOT NULL,
        certified_at TIMESTAMP WITH TIME ZONE NOT NULL,
        visited_on DATE NOT NULL,
        found TEXT NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (institution, enterprise),
        FOREIGN KEY(institution) REFERENCES institutions (id),
        FOREIGN KEY(enterprise) REFERENCES enterprises (uscc),
        FOREIGN KEY(certified_by) REFERENCES accounts (id)
    )
    """,
    "corrections": """
    CREATE TABLE corrections (
        id TEXT NOT NULL,
        institution TEXT NOT NULL,
        enterprise TEXT NOT NULL,
        item TEXT NOT NULL,
        text TEXT NOT NULL,
        prompted_by TEXT NOT NULL,
        prompted_at TIMESTAMP WITH TIME ZONE NOT NULL,
        due_at TIMESTAMP WITH TIME ZONE NOT NULL,
        answer TEXT,
        corrected_at TIMESTAMP WITH TIME ZONE,
        outcome TEXT,
        ended_at TIMESTAMP WITH TIME ZONE,
        state TEXT NOT NULL,
        PRIMARY KEY (id),
        FOREIGN KEY(institution) REFERENCES institutions (id),
        FOREIGN KEY(enterprise) REFERENCES enterprises (uscc),
        FOREIGN KEY(prompted_by) REFERENCES accounts (id)
    )
    """,
}
INDEXES = (
    "CREATE INDEX api_tokens_account ON api_tokens (account)",
    "CREATE INDEX staff_codes_staff ON staff_codes (staff)",
    "CREATE INDEX staff_passkeys_staff ON staff_passkeys (staff)",
    "CREATE INDEX staff_sessions_account ON staff_sessions (account, ended_at)",
    "CREATE INDEX account_sanctions_account ON account_sanctions (account) WHERE state = 'in_force'",
    "CREATE INDEX admissions_institution ON admissions (institution, submitted_at)",
    "CREATE INDEX corrections_due ON corrections (due_at) WHERE state = 'prompted'",
    "CREATE INDEX corrections_enterprise ON corrections (enterprise, state)",
)
AUDITED = {
    "api_tokens": ("api_token", "id"),
    "staff": ("staff", "id"),
    "staff_passkeys": ("staff_passkey", "id"),
    "account_sanctions": ("account_sanction", "id"),
    "onboardings": ("onboarding", "institution"),
    "admissions": ("admission", "id"),
    "certifications": ("certification", "institution", "enterprise"),
    "corrections": ("correction", "id"),
}
OF_ACCOUNT = "EXISTS (SELECT FROM accounts WHERE accounts.id = {table}.{column})"
SCOPED_NEW = {
    "api_tokens": OF_ACCOUNT.format(table="api_tokens", column="account"),
    "staff": OF_ACCOUNT.format(table="staff", column="id"),
    "staff_codes": "EXISTS (SELECT FROM staff WHERE staff.id = staff_codes.staff)",
    "staff_passkeys": "EXISTS (SELECT FROM staff WHERE staff.id = staff_passkeys.staff)",
    "staff_sessions": OF_ACCOUNT.format(table="staff_sessions", column="account"),
    "admissions": f"institution = {T}",
    "corrections": f"{T} IN (institution, enterprise)",
}
ENCLOSED_NEW: dict[str, tuple[tuple[str, str | None, str | None], ...]] = {
    # before anybody is known
    "staff_login_states": (),
    # what is said against an account is the platform's to say and its institution's to read
    "account_sanctions": (("SELECT", OF_ACCOUNT.format(table="account_sanctions", column="account"), None),),
    # its papers are the institution's own; how it stands, `institution_state` tells
    "onboardings": (("SELECT", f"institution = {T}", None),),
    "certifications": (
        ("SELECT", f"{T} IN (institution, enterprise)", None),
        ("INSERT", None, f"institution = {T}"),
        ("UPDATE", f"institution = {T}", f"institution = {T}"),
    ),
}
# what stood before admission was kept is admitted as it stood; a token goes on without an end until it is rotated
CARRY_OVER = (
    """
    INSERT INTO onboardings (institution, state) SELECT id, 'active' FROM institutions
    """,
    """
    INSERT INTO audit (at, actor, actor_name, institution, action, object_kind, object_id, to_state, reason)
    SELECT now(), 'system', 'system', 'platform', 'onboarding.carry_over', 'onboarding', id, 'active',
        'on record before admission was kept' FROM institutions
    """,
    """
    INSERT INTO api_tokens (id, account, sha256, created_at)
    SELECT 'k-' || substr(id, 3), id, token_sha256, created_at FROM accounts
    """,
    """
    INSERT INTO audit (at, actor, actor_name, institution, action, object_kind, object_id, reason)
    SELECT now(), 'system', 'system', 'platform', 'token.carry_over', 'api_token', 'k-' || substr(id, 3),
        'the account''s one token' FROM accounts
    """,
)

FUNCTIONS = {
    # an event is for another tenant than the one whose act it tells of
    "tell_institutions(text[], text[], text[], timestamptz)": """
    CREATE FUNCTION tell_institutions(names text[], kinds text[], bodies text[], moment timestamptz)
    RETURNS SETOF text LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
    SET creditlab.tenant = 'platform' AS $$
    DECLARE
        one text;
        many bigint;
        last bigint;
    BEGIN
        FOR one, many IN
            SELECT i.id, count(*) FROM unnest(names) AS given JOIN institutions AS i ON i.id = given
            GROUP BY i.id ORDER BY i.id
        LOOP
            INSERT INTO institution_event_heads AS head (institution, position) VALUES (one, many)
            ON CONFLICT (institution) DO UPDATE SET position = head.position + many
            RETURNING head.position INTO last;
            INSERT INTO institution_events (institution, position, kind, body, at)
            SELECT one, last - many + row_number() OVER (ORDER BY place), kind, body::jsonb, moment
            FROM unnest(names, kinds, bodies) WITH ORDINALITY AS given (name, kind, body, place) WHERE name = one;
            RETURN NEXT one;
        END LOOP;
    END $$
    """,
    # whoever holds an account's number may know its name, and nothing else of it
    "account_names(text[])": """
    CREATE FUNCTION account_names(ids text[]) RETURNS TABLE (id text, name text) LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = public, pg_temp SET creditlab.tenant = 'platform'
    AS $$ SELECT accounts.id, accounts.name FROM accounts WHERE accounts.id = ANY (ids) $$
    """,
    # whoever knows an enterprise's code may know that it is on record, and not who acts for it
    "enterprise_known(text)": """
    CREATE FUNCTION enterprise_known(code text) RETURNS TABLE (name text, subject text, state text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET creditlab.tenant = 'platform'
    AS $$ SELECT e.name, e.subject, e.state FROM enterprises AS e WHERE e.uscc = code $$
    """,
    # whether somebody may act is everybody's to know, on which papers is not
    "institution_state(text)": """
    CREATE FUNCTION institution_state(name text) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = public, pg_temp SET creditlab.tenant = 'platform'
    AS $$ SELECT COALESCE(
        (SELECT s.state FROM institution_standings AS s WHERE s.institution = name AND s.state <> 'active'),
        (SELECT o.state FROM onboardings AS o WHERE o.institution = name)
    ) $$
    """,
    # a score says that something said of the enterprise is disputed, not by whom or what
    "enterprise_disputed(text, text[])": """
    CREATE FUNCTION enterprise_disputed(code text, states text[]) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET creditlab.tenant = 'platform'
    AS $$ SELECT EXISTS (
        SELECT FROM disputes AS d WHERE d.enterprise = code AND d.kind = 'dispute' AND d.state = ANY (states)
    ) $$
    """,
}


def upgrade() -> None:
    # who migrates becomes a member, so that the control plane may step down to the role at every connection
    op.execute(f"GRANT {ROLE} TO CURRENT_USER")
    for statement in (*TABLES.values(), *INDEXES):
        op.execute(statement)
    op.execute("ALTER TABLE accounts ADD COLUMN level TEXT NOT NULL DEFAULT 'service'")
    op.execute("ALTER TABLE accounts ALTER COLUMN level DROP DEFAULT")
    op.execute("ALTER TABLE accounts ADD COLUMN duties TEXT[]")
    op.execute("ALTER TABLE accounts ADD COLUMN owner TEXT")
    op.execute("ALTER TABLE accounts ADD CONSTRAINT accounts_level CHECK (level in ('admin', 'operator', 'service'))")
    op.execute("ALTER TABLE institutions DROP CONSTRAINT institutions_kind")
    op.execute(f"ALTER TABLE institutions ADD CONSTRAINT institutions_kind CHECK (kind in {(*KINDS, 'guarantor')!r})")
    for statement in CARRY_OVER:
        op.execute(statement)
    op.execute("ALTER TABLE accounts DROP COLUMN token_sha256")
    guards.audited(AUDITED)
    guards.scoped({**SCOPED, **SCOPED_NEW})
    for table, rules in {**ENCLOSED, **ENCLOSED_NEW}.items():
        guards.enclosed(table, *rules)
    op.execute(f"REVOKE UPDATE ON consents FROM {ROLE}")
    op.execute(f"GRANT UPDATE ({', '.join(CONSENT_COLUMNS)}) ON consents TO {ROLE}")
    for name, statement in FUNCTIONS.items():
        op.execute(statement)
        op.execute(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {name} TO {ROLE}")


def downgrade() -> None:
    for name in FUNCTIONS:
        op.execute(f"DROP FUNCTION {name}")
    op.execute(f"REVOKE UPDATE ({', '.join(CONSENT_COLUMNS)}) ON consents FROM {ROLE}")
    op.execute(f"GRANT UPDATE ON consents TO {ROLE}")
    guards.opened((*SCOPED, *ENCLOSED))
    op.execute("ALTER TABLE accounts ADD COLUMN token_sha256 TEXT")
    op.execute(
        """
        UPDATE accounts SET token_sha256 = COALESCE(
            (SELECT sha256 FROM api_tokens WHERE account = accounts.id AND ended_at IS NULL
             ORDER BY created_at DESC LIMIT 1),
            'none/' || id)
        """
    )
    op.execute(
        """
        INSERT INTO audit (at, actor, actor_name, institution, action, object_kind, object_id, reason)
        SELECT now(), 'system', 'system', 'platform', 'account.carry_back', 'account', id, 'one token again'
        FROM accounts
        """
    )
    op.execute("SET CONSTRAINTS ALL IMMEDIATE")  # or the table could not be altered while its triggers wait
    op.execute("ALTER TABLE accounts ALTER COLUMN token_sha256 SET NOT NULL")
    op.execute("ALTER TABLE accounts ADD CONSTRAINT accounts_token_sha256_key UNIQUE (token_sha256)")
    for column in ("owner", "duties", "level"):
        op.execute(f"ALTER TABLE accounts DROP COLUMN {column}")
    for table in reversed(TABLES):
        op.execute(f"DROP TABLE {table}")
    op.execute("ALTER TABLE institutions DROP CONSTRAINT institutions_kind")
    op.execute(f"ALTER TABLE institutions ADD CONSTRAINT institutions_kind CHECK (kind in {KINDS!r})")
