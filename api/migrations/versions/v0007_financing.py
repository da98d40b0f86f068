"""Products, applications, needs, ledgers and clocks of the financing workflow.

An enterprise and the institution before which its application is are the parties of nearly every row: both read it,
and each writes only its own part.
"""

from alembic import op

from api.migrations import guards

revision = "0007"
down_revision = "0006"

ROLE = "creditlab_app"
T = "(SELECT creditlab_tenant())"
SOMEBODY = f"{T} IS NOT NULL"
PARTIES = f"{T} IN (institution, enterprise)"
REFERRED = f"EXISTS (SELECT FROM referrals WHERE referrals.application = {{of}} AND referrals.institution = {T})"
GUARANTEED = f"EXISTS (SELECT FROM guarantees WHERE guarantees.application = applications.id AND guarantor = {T})"
# an open need is before every institution, for it to ask
ON_BOARD = (
    "kind = 'need' AND open_to_all AND state = 'pushed'"
    f" AND EXISTS (SELECT FROM institutions WHERE institutions.id = {T})"
)

TABLES = {
    "clocks": """
    CREATE TABLE clocks (
        id TEXT NOT NULL,
        kind TEXT NOT NULL,
        object_kind TEXT NOT NULL,
        object_id TEXT NOT NULL,
        holder TEXT NOT NULL,
        enterprise TEXT,
        started_at TIMESTAMP WITH TIME ZONE NOT NULL,
        due_at TIMESTAMP WITH TIME ZONE NOT NULL,
        next_at TIMESTAMP WITH TIME ZONE,
        stopped_at TIMESTAMP WITH TIME ZONE,
        PRIMARY KEY (id)
    )
    """,
    "clock_words": """
    CREATE TABLE clock_words (
        clock TEXT NOT NULL,
        mark TEXT NOT NULL,
        holder TEXT NOT NULL,
        at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (clock, mark),
        FOREIGN KEY(clock) REFERENCES clocks (id)
    )
    """,
    "enterprise_profiles": """
    CREATE TABLE enterprise_profiles (
        enterprise TEXT NOT NULL,
        name TEXT NOT NULL,
        region TEXT NOT NULL,
        industry TEXT NOT NULL,
        size TEXT NOT NULL,
        established_on DATE NOT NULL,
        employees INTEGER NOT NULL,
        annual_revenue NUMERIC(18, 2) NOT NULL,
        address TEXT NOT NULL,
        contact_name TEXT NOT NULL,
        contact TEXT NOT NULL,
        certifications TEXT[] NOT NULL,
        version INTEGER NOT NULL,
        attested_by TEXT NOT NULL,
        attested_name TEXT NOT NULL,
        attested_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (enterprise),
        FOREIGN KEY(enterprise) REFERENCES enterprises (uscc)
    )
    """,
    "expert_questions": """
    CREATE TABLE expert_questions (
        id TEXT NOT NULL,
        enterprise TEXT NOT NULL,
        title TEXT NOT NULL,
        text TEXT NOT NULL,
        may_publish BOOLEAN NOT NULL,
        assigned_to TEXT,
        answer TEXT,
        answered_by TEXT,
        answered_name TEXT,
        answered_at TIMESTAMP WITH TIME ZONE,
        asked_at TIMESTAMP WITH TIME ZONE NOT NULL,
        published_at TIMESTAMP WITH TIME ZONE,
        attested_by TEXT NOT NULL,
        attested_name TEXT NOT NULL,
        attested_at TIMESTAMP WITH TIME ZONE NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (id),
        FOREIGN KEY(enterprise) REFERENCES enterprises (uscc),
        FOREIGN KEY(assigned_to) REFERENCES institutions (id)
    )
    """,
    "products": """
    CREATE TABLE products (
        id TEXT NOT NULL,
        institution TEXT NOT NULL,
        name TEXT NOT NULL,
        product_class TEXT NOT NULL,
        summary TEXT NOT NULL,
        amount_min NUMERIC(18, 2) NOT NULL,
        amount_max NUMERIC(18, 2) NOT NULL,
        term_min INTEGER NOT NULL,
        term_max INTEGER NOT NULL,
        rate_min NUMERIC(7, 4) NOT NULL,
        rate_max NUMERIC(7, 4) NOT NULL,
        guarantees TEXT[] NOT NULL,
        regions TEXT[] NOT NULL,
        industries TEXT[] NOT NULL,
        modules TEXT[] NOT NULL,
        conditions TEXT NOT NULL,
        materials TEXT[] NOT NULL,
        liaison_name TEXT NOT NULL,
        liaison_contact TEXT NOT NULL,
        flags TEXT[] NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        submitted_at TIMESTAMP WITH TIME ZONE,
        reviewed_by TEXT,
        reviewed_at TIMESTAMP WITH TIME ZONE,
        opinion TEXT,
        version INTEGER NOT NULL,
        attested_by TEXT NOT NULL,
        attested_name TEXT NOT NULL,
        attested_at TIMESTAMP WITH TIME ZONE NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT products_amounts CHECK (amount_min <= amount_max),
        CONSTRAINT products_terms CHECK (term_min <= term_max),
        CONSTRAINT products_rates CHECK (rate_min <= rate_max),
        FOREIGN KEY(institution) REFERENCES institutions (id)
    )
    """,
    "publications": """
    CREATE TABLE publications (
        id TEXT NOT NULL,
        kind TEXT NOT NULL,
        author TEXT NOT NULL,
        title TEXT NOT NULL,
        text TEXT NOT NULL,
        source TEXT,
        modules TEXT[] NOT NULL,
        regions TEXT[] NOT NULL,
        industries TEXT[] NOT NULL,
        sizes TEXT[] NOT NULL,
        certifications TEXT[] NOT NULL,
        age_min INTEGER,
        age_max INTEGER,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        reviewed_by TEXT,
        reviewed_at TIMESTAMP WITH TIME ZONE,
        opinion TEXT,
        published_at TIMESTAMP WITH TIME ZONE,
        version INTEGER NOT NULL,
        attested_by TEXT NOT NULL,
        attested_name TEXT NOT NULL,
        attested_at TIMESTAMP WITH TIME ZONE NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT publications_kind CHECK (kind in ('notice', 'policy', 'knowledge', 'faq')),
        FOREIGN KEY(author) REFERENCES institutions (id)
    )
    """,
    "applications": """
    CREATE TABLE applications (
        id TEXT NOT NULL,
        kind TEXT NOT NULL,
        enterprise TEXT NOT NULL,
        product TEXT,
        institution TEXT,
        product_class TEXT,
        amount NUMERIC(18, 2),
        term_months INTEGER,
        rate_most NUMERIC(7, 4),
        purpose TEXT,
        repayment TEXT,
        guarantees TEXT[] NOT NULL,
        open_to_all BOOLEAN NOT NULL,
        basic JSONB,
        flags TEXT[] NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        submitted_at TIMESTAMP WITH TIME ZONE,
        reviewed_by TEXT,
        reviewed_at TIMESTAMP WITH TIME ZONE,
        opinion TEXT,
        chosen TEXT,
        ended_at TIMESTAMP WITH TIME ZONE,
        version INTEGER NOT NULL,
        attested_by TEXT NOT NULL,
        attested_name TEXT NOT NULL,
        attested_at TIMESTAMP WITH TIME ZONE NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT applications_kind CHECK (kind in ('product', 'need')),
        CONSTRAINT applications_product CHECK ((kind = 'product') = (product IS NOT NULL)),
        FOREIGN KEY(enterprise) REFERENCES enterprises (uscc),
        FOREIGN KEY(product) REFERENCES products (id),
        FOREIGN KEY(institution) REFERENCES institutions (id)
    )
    """,
    "policy_pushes": """
    CREATE TABLE policy_pushes (
        publication TEXT NOT NULL,
        enterprise TEXT NOT NULL,
        author TEXT NOT NULL,
        at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (publication, enterprise),
        FOREIGN KEY(publication) REFERENCES publications (id)
    )
    """,
    "guarantees": """
    CREATE TABLE guarantees (
        id TEXT NOT NULL,
        application TEXT NOT NULL,
        enterprise TEXT NOT NULL,
        guarantor TEXT NOT NULL,
        amount NUMERIC(18, 2) NOT NULL,
        note TEXT NOT NULL,
        invited_at TIMESTAMP WITH TIME ZONE NOT NULL,
        answer TEXT,
        answered_at TIMESTAMP WITH TIME ZONE,
        attested_by TEXT NOT NULL,
        attested_name TEXT NOT NULL,
        attested_at TIMESTAMP WITH TIME ZONE NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT guarantees_once UNIQUE (application, guarantor),
        FOREIGN KEY(application) REFERENCES applications (id),
        FOREIGN KEY(guarantor) REFERENCES institutions (id)
    )
    """,
    "referrals": """
    CREATE TABLE referrals (
        id TEXT NOT NULL,
        application TEXT NOT NULL,
        kind TEXT NOT NULL,
        origin TEXT NOT NULL,
        enterprise TEXT NOT NULL,
        enterprise_name TEXT NOT NULL,
        institution TEXT NOT NULL,
        product TEXT,
        product_class TEXT NOT NULL,
        region TEXT NOT NULL,
        industry TEXT NOT NULL,
        amount NUMERIC(18, 2) NOT NULL,
        term_months INTEGER NOT NULL,
        received_at TIMESTAMP WITH TIME ZONE NOT NULL,
        decided_at TIMESTAMP WITH TIME ZONE,
        reason TEXT,
        liaison_name TEXT,
        liaison_contact TEXT,
        approved_on DATE,
        approved_amount NUMERIC(18, 2),
        late BOOLEAN NOT NULL,
        ended_at TIMESTAMP WITH TIME ZONE,
        version INTEGER NOT NULL,
        attested_by TEXT NOT NULL,
        attested_name TEXT NOT NULL,
        attested_at TIMESTAMP WITH TIME ZONE NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT referrals_once UNIQUE (application, institution),
        FOREIGN KEY(application) REFERENCES applications (id),
        FOREIGN KEY(institution) REFERENCES institutions (id)
    )
    """,
    "credits": """
    CREATE TABLE credits (
        id TEXT NOT NULL,
        referral TEXT NOT NULL,
        institution TEXT NOT NULL,
        enterprise TEXT NOT NULL,
        enterprise_name TEXT NOT NULL,
        product TEXT,
        product_class TEXT NOT NULL,
        region TEXT NOT NULL,
        amount NUMERIC(18, 2) NOT NULL,
        rate NUMERIC(7, 4) NOT NULL,
        term_months INTEGER NOT NULL,
        contract_no TEXT NOT NULL,
        approved_on DATE NOT NULL,
        signed_on DATE NOT NULL,
        begins_on DATE NOT NULL,
        ends_on DATE NOT NULL,
        guarantee TEXT NOT NULL,
        disbursed NUMERIC(18, 2) NOT NULL,
        outstanding NUMERIC(18, 2) NOT NULL,
        classification TEXT NOT NULL,
        days_overdue INTEGER NOT NULL,
        granted_at TIMESTAMP WITH TIME ZONE NOT NULL,
        reported_late BOOLEAN NOT NULL,
        ended_at TIMESTAMP WITH TIME ZONE,
        version INTEGER NOT NULL,
        attested_by TEXT NOT NULL,
        attested_name TEXT NOT NULL,
        attested_at TIMESTAMP WITH TIME ZONE NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT credits_contract UNIQUE (institution, contract_no),
        CONSTRAINT credits_disbursed CHECK (disbursed <= amount),
        CONSTRAINT credits_outstanding CHECK (outstanding <= disbursed),
        UNIQUE (referral),
        FOREIGN KEY(referral) REFERENCES referrals (id),
        FOREIGN KEY(institution) REFERENCES institutions (id)
    )
    """,
    "messages": """
    CREATE TABLE messages (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        referral TEXT NOT NULL,
        institution TEXT NOT NULL,
        enterprise TEXT NOT NULL,
        side TEXT NOT NULL,
        author TEXT NOT NULL,
        author_name TEXT NOT NULL,
        text TEXT NOT NULL,
        at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT messages_side CHECK (side in ('enterprise', 'institution')),
        FOREIGN KEY(referral) REFERENCES referrals (id)
    )
    """,
    "referral_progress": """
    CREATE TABLE referral_progress (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        referral TEXT NOT NULL,
        institution TEXT NOT NULL,
        enterprise TEXT NOT NULL,
        step TEXT NOT NULL,
        on_day DATE NOT NULL,
        note TEXT NOT NULL,
        usage_id TEXT,
        late BOOLEAN NOT NULL,
        attested_by TEXT NOT NULL,
        attested_name TEXT NOT NULL,
        attested_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (id),
        FOREIGN KEY(referral) REFERENCES referrals (id)
    )
    """,
    "credit_reports": """
    CREATE TABLE credit_reports (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        credit TEXT NOT NULL,
        institution TEXT NOT NULL,
        enterprise TEXT NOT NULL,
        as_of DATE NOT NULL,
        status TEXT NOT NULL,
        classification TEXT NOT NULL,
        outstanding NUMERIC(18, 2) NOT NULL,
        days_overdue INTEGER NOT NULL,
        note TEXT NOT NULL,
        usage_id TEXT,
        attested_by TEXT NOT NULL,
        attested_name TEXT NOT NULL,
        attested_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT credit_reports_once UNIQUE (credit, as_of),
        FOREIGN KEY(credit) REFERENCES credits (id)
    )
    """,
    "disbursements": """
    CREATE TABLE disbursements (
        credit TEXT NOT NULL,
        voucher TEXT NOT NULL,
        institution TEXT NOT NULL,
        enterprise TEXT NOT NULL,
        amount NUMERIC(18, 2) NOT NULL,
        paid_on DATE NOT NULL,
        attested_by TEXT NOT NULL,
        attested_name TEXT NOT NULL,
        attested_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (credit, voucher),
        FOREIGN KEY(credit) REFERENCES credits (id)
    )
    """,
    "mediations": """
    CREATE TABLE mediations (
        id TEXT NOT NULL,
        credit TEXT NOT NULL,
        institution TEXT NOT NULL,
        enterprise TEXT NOT NULL,
        side TEXT NOT NULL,
        mediator TEXT NOT NULL,
        reason TEXT NOT NULL,
        proposed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        answer TEXT,
        answered_at TIMESTAMP WITH TIME ZONE,
        outcome TEXT,
        ended_at TIMESTAMP WITH TIME ZONE,
        attested_by TEXT NOT NULL,
        attested_name TEXT NOT NULL,
        attested_at TIMESTAMP WITH TIME ZONE NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT mediations_side CHECK (side in ('enterprise', 'institution')),
        FOREIGN KEY(credit) REFERENCES credits (id)
    )
    """,
}

INDEXES = (
    "CREATE INDEX clocks_due ON clocks (due_at, id) WHERE stopped_at IS NULL",
    "CREATE INDEX clocks_holder ON clocks (holder, due_at, id) WHERE stopped_at IS NULL",
    "CREATE INDEX clocks_next ON clocks (next_at) WHERE stopped_at IS NULL",
    "CREATE INDEX clocks_object ON clocks (object_id)",
    "CREATE UNIQUE INDEX clocks_one_running ON clocks (kind, object_id) WHERE stopped_at IS NULL",
    "CREATE INDEX enterprise_profiles_region ON enterprise_profiles (region)",
    "CREATE INDEX expert_questions_assigned ON expert_questions (assigned_to, asked_at, id)",
    "CREATE INDEX expert_questions_enterprise ON expert_questions (enterprise, asked_at, id)",
    "CREATE INDEX expert_questions_published ON expert_questions (published_at, id) WHERE state = 'published'",
    "CREATE INDEX expert_questions_state ON expert_questions (state, asked_at, id)",
    "CREATE INDEX products_institution ON products (institution, created_at, id)",
    "CREATE INDEX products_rate ON products (rate_min, id) WHERE state = 'on_shelf'",
    "CREATE INDEX products_state ON products (state, created_at, id)",
    "CREATE INDEX publications_author ON publications (author, created_at, id)",
    "CREATE INDEX publications_published ON publications (kind, published_at, id) WHERE state = 'published'",
    "CREATE INDEX publications_state ON publications (state, created_at, id)",
    "CREATE INDEX applications_board ON applications (submitted_at, id) "
    "WHERE kind = 'need' AND open_to_all AND state = 'pushed'",
    "CREATE INDEX applications_enterprise ON applications (enterprise, created_at, id)",
    "CREATE INDEX applications_state ON applications (state, submitted_at, id)",
    "CREATE INDEX policy_pushes_enterprise ON policy_pushes (enterprise, at, publication)",
    "CREATE INDEX guarantees_guarantor ON guarantees (guarantor, invited_at, id)",
    "CREATE INDEX referrals_enterprise ON referrals (enterprise, received_at, id)",
    "CREATE INDEX referrals_institution ON referrals (institution, received_at, id)",
    "CREATE INDEX referrals_institution_state ON referrals (institution, state, received_at, id)",
    "CREATE INDEX referrals_received ON referrals (received_at, id)",
    "CREATE INDEX referrals_state ON referrals (state, received_at, id)",
    "CREATE INDEX credits_enterprise ON credits (enterprise, granted_at, id)",
    "CREATE INDEX credits_granted ON credits (granted_at, id)",
    "CREATE INDEX credits_institution ON credits (institution, granted_at, id)",
    "CREATE INDEX credits_institution_state ON credits (institution, state, granted_at, id)",
    "CREATE INDEX credits_warning ON credits (institution, days_overdue, id) "
    "WHERE state in ('special_mention', 'overdue')",
    "CREATE INDEX messages_referral ON messages (referral, id)",
    "CREATE INDEX referral_progress_referral ON referral_progress (referral, id)",
    "CREATE INDEX mediations_credit ON mediations (credit, proposed_at)",
    "CREATE UNIQUE INDEX mediations_open ON mediations (credit) WHERE state in ('proposed', 'agreed')",
)

# table → (kind, key columns) under which the audit names its rows
AUDITED = {
    "products": ("product", "id"),
    "publications": ("publication", "id"),
    "expert_questions": ("question", "id"),
    "enterprise_profiles": ("enterprise_profile", "enterprise"),
    "applications": ("application", "id"),
    "referrals": ("referral", "id"),
    "credits": ("credit", "id"),
    "disbursements": ("disbursement", "credit", "voucher"),
    "guarantees": ("guarantee", "id"),
    "clocks": ("clock", "id"),
    "mediations": ("mediation", "id"),
}

APPEND_ONLY = ("referral_progress", "credit_reports", "messages", "policy_pushes", "clock_words")

# reading and writing differ: (command, rows seen, rows written)
ENCLOSED: dict[str, tuple[tuple[str, str | None, str | None], ...]] = {
    "products": (
        ("SELECT", f"institution = {T} OR (state = 'on_shelf' AND {SOMEBODY})", None),
        ("INSERT", None, f"institution = {T}"),
        ("UPDATE", f"institution = {T}", f"institution = {T}"),
    ),
    "publications": (
        ("SELECT", f"author = {T} OR (state = 'published' AND {SOMEBODY})", None),
        ("INSERT", None, f"author = {T}"),
        ("UPDATE", f"author = {T}", f"author = {T}"),
    ),
    "policy_pushes": (
        ("SELECT", f"{T} IN (enterprise, author)", None),
        ("INSERT", None, f"enterprise = {T}"),
    ),
    "expert_questions": (
        ("SELECT", f"{T} IN (enterprise, assigned_to) OR (state = 'published' AND {SOMEBODY})", None),
        ("INSERT", None, f"enterprise = {T}"),
        ("UPDATE", f"{T} IN (enterprise, assigned_to)", f"{T} IN (enterprise, assigned_to)"),
    ),
    "enterprise_profiles": (
        ("SELECT", f"enterprise = {T}", None),
        ("INSERT", None, f"enterprise = {T}"),
        ("UPDATE", f"enterprise = {T}", f"enterprise = {T}"),
    ),
    # a bank that ends the referral of its own product ends the application with it
    "applications": (
        (
            "SELECT",
            f"enterprise = {T} OR {REFERRED.format(of='applications.id')} OR {GUARANTEED} OR ({ON_BOARD})",
            None,
        ),
        ("INSERT", None, f"enterprise = {T}"),
        (
            "UPDATE",
            f"enterprise = {T} OR (kind = 'product' AND institution = {T} AND state = 'pushed')",
            f"enterprise = {T} OR (kind = 'product' AND institution = {T} AND state = 'closed')",
        ),
    ),
    # an enterprise may take a referral back, and write nothing else of it
    "referrals": (
        ("SELECT", PARTIES, None),
        ("INSERT", None, f"institution = {T}"),
        ("UPDATE", PARTIES, f"institution = {T} OR (enterprise = {T} AND state = 'withdrawn')"),
    ),
    "referral_progress": (("SELECT", PARTIES, None), ("INSERT", None, f"institution = {T}")),
    "credits": (
        ("SELECT", PARTIES, None),
        ("INSERT", None, f"institution = {T}"),
        ("UPDATE", f"institution = {T}", f"institution = {T}"),
    ),
    "disbursements": (("SELECT", PARTIES, None), ("INSERT", None, f"institution = {T}")),
    "credit_reports": (("SELECT", PARTIES, None), ("INSERT", None, f"institution = {T}")),
    "guarantees": (
        ("SELECT", f"{T} IN (enterprise, guarantor) OR {REFERRED.format(of='guarantees.application')}", None),
        ("INSERT", None, f"enterprise = {T}"),
        (
            "UPDATE",
            f"{T} IN (enterprise, guarantor)",
            f"guarantor = {T} OR (enterprise = {T} AND state = 'withdrawn')",
        ),
    ),
    "messages": (
        ("SELECT", PARTIES, None),
        ("INSERT", None, f"{T} = CASE side WHEN 'enterprise' THEN enterprise ELSE institution END"),
    ),
    # an enterprise sees, and stops by taking back, what runs for it
    "clocks": (
        ("SELECT", f"{T} IN (holder, enterprise)", None),
        ("INSERT", None, f"{T} IN (holder, enterprise)"),
        ("UPDATE", f"{T} IN (holder, enterprise)", f"{T} IN (holder, enterprise)"),
    ),
    "clock_words": (("SELECT", f"holder = {T}", None),),
    "mediations": (("SELECT", PARTIES, None), ("INSERT", None, PARTIES), ("UPDATE", PARTIES, PARTIES)),
}


def upgrade() -> None:
    for statement in (*TABLES.values(), *INDEXES):
        op.execute(statement)
    guards.audited(AUDITED)
    guards.append_only(APPEND_ONLY)
    for table, rules in ENCLOSED.items():
        guards.enclosed(table, *rules)
    for table in APPEND_ONLY:
        op.execute(f"REVOKE UPDATE, DELETE ON {table} FROM {ROLE}")


def downgrade() -> None:
    guards.opened(ENCLOSED)
    for table in reversed(TABLES):
        op.execute(f"DROP TABLE {table}")
