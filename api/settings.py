"""Settings of the control plane: one validated class, read from the environment once at start.

Owns names, defaults and bounds of what an operator may configure. Reads no file and holds no secret but the
database's address.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

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
    redelivery_seconds: Seconds = 2  # unacknowledged work is handed out again after this
    sweep_seconds: Seconds = 1
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
    consent_batch: Annotated[int, Field(gt=0, le=5000)] = 1000

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
