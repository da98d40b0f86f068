"""Settings of the control plane: one validated class, read from the environment once at start.

Owns names, defaults and bounds of what an operator may configure. Reads no file and holds no secret but the
database's address.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

PREFIX = "CREDITLAB_"


class BadSettings(Exception):
    """A setting is missing or out of bounds; the message names the environment variable."""


Seconds = Annotated[float, Field(gt=0, le=7 * 86400)]


class Settings(BaseModel):
    """Every field is the environment variable CREDITLAB_<FIELD>; `database_url` is DATABASE_URL."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8443
    # None: the embedded PostgreSQL in <home>/postgres
    database_url: str | None = None
    lease_seconds: Seconds = 30  # a node not heard for longer is taken for lost
    connect_margin_seconds: Seconds = 15  # on top of a ticket's connect deadline
    settle_seconds: Seconds = 5  # how long the other side may still name the first cause
    ticket_seconds: Seconds = 3600
    release_order_seconds: Seconds = 86400
    score_seconds: Seconds = 10
    data_seconds: Seconds = 20  # a lab's node answers a query, a verification or a report
    # of one item of one enterprise by one institution: answers to many guesses would give the value away
    verifications_per_day: Annotated[int, Field(ge=1, le=1000)] = 20
    redelivery_seconds: Seconds = 2  # unacknowledged work is handed out again after this
    sweep_seconds: Seconds = 1
    rate_per_minute: Annotated[int, Field(ge=1, le=10_000_000)] = 30_000  # requests of one credential
    rate_failures_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 120  # refused credentials of one address
    log_format: Literal["json", "text"] = "json"
    worker_lost_seconds: Seconds = 20  # a worker not heard for longer: others go on with its flows
    backup_dir: Path | None = None  # where the nightly backup goes; none: no nightly backup
    backup_recipient: str | None = None  # public key it is encrypted to (creditlab backup keygen)
    backup_copy_dir: Path | None = None  # a second, off-site place it is copied to
    backup_keep: Annotated[int, Field(ge=1, le=10_000)] = 30  # newest backups kept in backup_dir
    otlp_endpoint: str | None = None  # where OpenTelemetry traces go; none: no traces
    max_consent_documents: Annotated[int, Field(gt=0)] = 50_000
    suite: Literal["ed25519", "sm2"] = "ed25519"  # of the platform's key, when it is made
    platform: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] = (
        "creditlab"  # on keyring, receipts, ledger
    )
    key_days: Annotated[float, Field(gt=0, le=3660)] = 1096  # how long a key of the platform may sign
    portal_name: str = "信用授权门户 · Consent portal"
    portal_rp_id: str = "localhost"  # the site's domain: passkeys belong to it for good
    portal_origins: str = ""  # addresses of the site, comma between; empty: https://<rp id>:<port>
    portal_idle_seconds: Seconds = 900
    portal_session_seconds: Seconds = 8 * 3600
    portal_code_seconds: Seconds = 72 * 3600
    portal_session_code: bool = False  # whether a session and a one-time code may stand for a passkey
    staff_idle_seconds: Seconds = 1800  # a person's session ends when it is not used
    staff_session_seconds: Seconds = 12 * 3600  # and after this in any case
    staff_code_seconds: Seconds = 72 * 3600  # a first password's one-time code
    staff_one_source: bool = False  # whether one account may be signed in from one place only (R3)
    token_days: Annotated[int, Field(ge=1, le=3660)] = 365  # an API client's token ends
    leave_days: Annotated[int, Field(ge=1, le=60)] = 3  # working days until a leaver is disabled (R6)
    change_days: Annotated[int, Field(ge=0, le=60)] = 3  # working days ahead for a change of admins (R5)
    correction_days: Annotated[int, Field(ge=1, le=60)] = 10  # working days to correct stale data (R13)
    oidc_issuer: str = ""  # an identity provider of institutions' own; empty: none
    oidc_client_id: str = ""
    oidc_client_secret_file: Path | None = None
    oidc_ca: Path | None = None  # CA file for its address; None: the system's
    # of a released model's cohort: when more than this has withdrawn, the model is recalled
    recall_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    webhook_ca: Path | None = None  # CA file for institutions' addresses; None: the system's
    webhook_attempts: Annotated[int, Field(ge=1, le=100)] = 12
    webhook_pause_seconds: Seconds = 5  # after the first failed delivery; doubled each time, an hour at most
    quiet_after_refusal_days: Annotated[int, Field(ge=1, le=3660)] = 90  # until an enterprise may be asked again
    quiet_after_withdrawal_days: Annotated[int, Field(ge=1, le=3660)] = 30
    dispute_days: Annotated[int, Field(ge=1, le=365)] = 20  # an answer to a dispute is due (征信业管理条例 §25)
    complaint_days: Annotated[int, Field(ge=1, le=365)] = 30  # to a complaint (§26)
    request_days: Annotated[int, Field(ge=1, le=365)] = 30  # an unanswered request expires
    # financing: working days but for the follow-up, which is calendar months
    accept_days: Annotated[int, Field(ge=1, le=60)] = 5  # an application is accepted or refused (R10)
    follow_up_months: Annotated[int, Field(ge=1, le=12)] = 1  # offline follow-up of an accepted one (R11)
    report_days: Annotated[int, Field(ge=1, le=60)] = 5  # the result is reported after approval (R11)
    guarantee_days: Annotated[int, Field(ge=1, le=60)] = 5  # a guarantor answers
    question_days: Annotated[int, Field(ge=1, le=60)] = 5  # a question is answered
    clock_reminders: str = "2,1"  # working days before a deadline, comma between; empty: none
    # security incidents (R16): reported after they were noticed, acknowledged by the operator, closed after that
    incident_report_hours: Annotated[float, Field(gt=0, le=168)] = 1
    incident_acknowledge_hours: Annotated[float, Field(gt=0, le=168)] = 1
    incident_close_days: Annotated[int, Field(ge=1, le=365)] = 30
    # statistics of others are shown for groups of at least so many enterprises
    statistics_least: Annotated[int, Field(ge=1, le=1000)] = 3
    consent_batch: Annotated[int, Field(gt=0, le=5000)] = 1000

    @field_validator("clock_reminders")
    @classmethod
    def _days(cls, given: str) -> str:
        days = [each.strip() for each in given.split(",") if each.strip()]
        if not all(each.isdecimal() and 1 <= int(each) <= 30 for each in days) or len(days) > 5:
            raise ValueError("up to five numbers of working days from 1 to 30, comma between")
        return ",".join(days)

    @field_validator("database_url")
    @classmethod
    def _postgresql_only(cls, url: str | None) -> str | None:
        if url is None or url == "":
            return None
        scheme, separator, rest = url.partition("://")
        if not separator or scheme not in {"postgresql", "postgres", "postgresql+psycopg"}:
            raise ValueError("a postgresql:// address is needed: no other database is supported")
        return f"postgresql+psycopg://{rest}"

    @property
    def reminder_days(self) -> tuple[int, ...]:
        """Working days before a deadline on which it is reminded of."""
        return tuple(sorted({int(each) for each in self.clock_reminders.split(",") if each}))

    @model_validator(mode="after")
    def _backups_are_encrypted(self) -> Settings:
        if self.backup_dir is not None and self.backup_recipient is None:
            raise ValueError("CREDITLAB_BACKUP_RECIPIENT is needed with CREDITLAB_BACKUP_DIR: no backup lies open")
        return self

    @property
    def origins(self) -> frozenset[str]:
        """The addresses under which browsers see the portal."""
        given = (each.strip().rstrip("/") for each in self.portal_origins.split(","))
        return frozenset(each for each in given if each) or frozenset({f"https://{self.portal_rp_id}:{self.port}"})

    @classmethod
    def read(cls, environment: Mapping[str, str], **given: Any) -> Settings:
        """Settings from `environment`, overridden by `given` values that are not None. Raises BadSettings."""
        values: dict[str, Any] = {}
        for name in cls.model_fields:
            variable = "DATABASE_URL" if name == "database_url" else PREFIX + name.upper()
            if variable in environment:
                values[name] = environment[variable]
        values |= {name: value for name, value in given.items() if value is not None}
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            field = str(first["loc"][0]) if first["loc"] else "?"
            variable = "DATABASE_URL" if field == "database_url" else PREFIX + field.upper()
            raise BadSettings(f"{variable}: {first['msg']}") from error
