"""The database: engine, tables' base class, and the unit of work that every write goes through.

A service function opens one `Unit`, and leaving it commits or rolls back: handlers never commit. A write leaves
its audit row through the unit, and the database itself refuses at commit a row of an audited table that was
written without one (trigger `require_audit`), so forgetting it is an error, not a gap.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Protocol

import psycopg
import sqlalchemy as sa
from psycopg.rows import namedtuple_row, tuple_row
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError, MultipleResultsFound
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, validates

from api.errors import Conflict

NOTIFY_CHANNEL = "creditlab"
ROLE = "creditlab_app"  # made by migration 0005
STEP_DOWN = f"SET ROLE {ROLE}"

Clock = Callable[[], datetime]


class SignedText(sa.types.TypeDecorator[dict[str, Any]]):
    """A signed document as the JSON text it was made as: JSONB would rewrite numbers under a signature."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: dict[str, Any] | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> dict[str, Any] | None:
        return None if value is None else json.loads(value)


class Base(DeclarativeBase):
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: sa.DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[dict[str, Any]]: JSONB,
        str: sa.Text,
    }


@dataclass(frozen=True)
class Actor:
    """Who acts, as the audit names them."""

    account_id: str
    name: str
    institution: str


SYSTEM = Actor("system", "system", "platform")


def tenant(name: str) -> Actor:
    """Reads what this institution or enterprise may see, where the person who asks is not known any more."""
    return Actor(name, name, name)


class AuditRow(Base):
    """One write: who, when, what, on which object, why. Append-only."""

    __tablename__ = "audit"

    seq: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(always=True), primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str]
    actor_name: Mapped[str]
    institution: Mapped[str]
    action: Mapped[str]
    object_kind: Mapped[str]
    object_id: Mapped[str]
    from_state: Mapped[str | None]
    to_state: Mapped[str | None]
    reason: Mapped[str]
    detail: Mapped[dict[str, Any]] = mapped_column(server_default=sa.text("'{}'::jsonb"))
    txid: Mapped[int] = mapped_column(sa.BigInteger, server_default=sa.text("(pg_current_xact_id()::text)::bigint"))

    __table_args__ = (sa.Index("audit_object", "object_kind", "object_id", "txid"),)


class Audited:
    """Mixin of tables whose every write needs an audit row in the same transaction."""

    AUDIT_KIND: ClassVar[str]
    AUDIT_KEY: ClassVar[tuple[str, ...]] = ("id",)

    @property
    def audit_id(self) -> str:
        return "/".join(str(getattr(self, name)) for name in self.AUDIT_KEY)


@dataclass(frozen=True)
class Machine:
    """The states of one kind of object: the first is where it begins; `transitions` is the whole truth."""

    kind: str
    initial: frozenset[str]
    transitions: dict[str, frozenset[str]]

    @property
    def states(self) -> frozenset[str]:
        return frozenset(self.transitions)

    @property
    def final(self) -> frozenset[str]:
        return frozenset(state for state, after in self.transitions.items() if not after)


class IllegalTransition(Conflict):
    """The object is not in a state from which this is possible."""

    code = "illegal_transition"

    def __init__(self, machine: Machine, name: str, before: str, to: str) -> None:
        super().__init__(
            f"{machine.kind} {name} is {before}: it cannot become {to}",
            f"{machine.kind} {name} 当前状态为 {before}，不能变更为 {to}",
        )


class StateWrittenOutsideTransition(AssertionError):
    """A programming error: `state` was assigned other than through Unit.create or Unit.transition."""


_moving: ContextVar[bool] = ContextVar("state_is_moving", default=False)


class Stateful(Audited):
    """Mixin of objects with a life cycle: `state` is written by Unit.create and Unit.transition only."""

    MACHINE: ClassVar[Machine]

    state: Mapped[str]

    @validates("state")
    def _only_by_transition(self, _key: str, value: str) -> str:
        if not _moving.get():
            raise StateWrittenOutsideTransition(f"{type(self).__name__}.state = {value!r}")
        return value


class Closing(Protocol):
    """What a transaction does last."""

    def finish(self) -> None: ...


class Unit:
    """One transaction by one actor at one moment. Made by `Database.unit`."""

    def __init__(self, session: Session, actor: Actor, clock: Clock) -> None:
        self.session, self.actor, self.clock = session, actor, clock
        self.now = clock()
        self._closing: dict[Any, Closing] = {}
        self.effective = False  # whether it wrote anything that an audit row tells of

    def last[T: Closing](self, make: Callable[[Unit], T]) -> T:
        """This transaction's one `make(unit)`, whose `finish` runs after everything else, just before the commit."""
        if make not in self._closing:
            self._closing[make] = make(self)
        found: T = self._closing[make]  # type: ignore[assignment]
        return found

    def identified(self, actor: Actor) -> None:
        """Who acts is known now: what follows is written in that name. What is seen stays as it was."""
        self.actor = actor

    def finish(self) -> None:
        """Called once, by `Database.unit`."""
        self.session.flush()
        for one in self._closing.values():
            one.finish()

    def audit_values(
        self,
        action: str,
        kind: str,
        object_id: str,
        reason: str,
        before: str | None = None,
        after: str | None = None,
        detail: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The values of one audit row, for bulk inserts; `record` is the everyday way."""
        self.effective = True
        return {
            "at": self.now,
            "actor": self.actor.account_id,
            "actor_name": self.actor.name,
            "institution": self.actor.institution,
            "action": action,
            "object_kind": kind,
            "object_id": object_id,
            "from_state": before,
            "to_state": after,
            "reason": reason,
            "detail": detail or {},
        }

    def record(self, action: str, row: Audited, reason: str, **more: Any) -> None:
        """Appends the audit row of a write to `row`."""
        self.note(action, row.AUDIT_KIND, row.audit_id, reason, **more)

    def note(self, action: str, kind: str, object_id: str, reason: str, **more: Any) -> None:
        """Appends the audit row of an act on what is no row of ours."""
        self.session.execute(sa.insert(AuditRow), self.audit_values(action, kind, object_id, reason, **more))

    def create[T: Audited](self, row: T, action: str, reason: str, state: str | None = None, **detail: Any) -> T:
        """Adds a row and its audit row; a stateful one begins in `state`, one of its machine's initial states."""
        if isinstance(row, Stateful):
            if state not in row.MACHINE.initial:
                raise StateWrittenOutsideTransition(f"{row.MACHINE.kind} cannot begin as {state!r}")
            self._set_state(row, state)
        self.session.add(row)
        self.session.flush()
        self.record(action, row, reason, after=state, detail=detail)
        return row

    def transition(self, row: Stateful, to: str, action: str, reason: str, **detail: Any) -> None:
        """Moves `row` to state `to`, with its audit row. The only way to write a state.

        Raises IllegalTransition (409) when the machine has no such transition.
        """
        before = row.state
        if to not in row.MACHINE.transitions[before]:
            raise IllegalTransition(row.MACHINE, row.audit_id, before, to)
        self._set_state(row, to)
        self.session.flush()
        self.record(action, row, reason, before=before, after=to, detail=detail)

    @staticmethod
    def _set_state(row: Stateful, state: str) -> None:
        token = _moving.set(True)
        try:
            row.state = state
        finally:
            _moving.reset(token)

    def notify(self, topic: str) -> None:
        """Wakes those who wait for `topic`, in every process, when and only when this transaction commits."""
        self.session.execute(sa.select(sa.func.pg_notify(NOTIFY_CHANNEL, topic)))


_ENTER = "SELECT set_config('role', %s, %s), set_config('creditlab.tenant', %s, %s)"


def _run(connection: sa.Connection, statement: str, values: Any, row: Any = tuple_row) -> psycopg.Cursor[Any]:
    """By the driver itself, which takes a fifth of the time; what goes wrong is told by SQLAlchemy's names."""
    driver = connection.connection.driver_connection
    assert driver is not None
    try:
        return driver.cursor(row_factory=row).execute(statement, values)  # type: ignore[no-any-return]
    except psycopg.Error:
        connection.exec_driver_sql(statement, values)  # fails as well, and SQLAlchemy forgets what is broken
        raise


def _enter(on: Session | sa.Connection, actor: Actor, *, local: bool) -> None:
    """Tells the database on whose behalf this is: row-level security reads it (migration 0005).

    `local`: for this transaction; otherwise until the connection's next user says whose he is. The role is set again
    each time, so that nothing a connection did before can have given it up. Being the first word on a connection out
    of the pool, it also finds out whether the server has closed it meanwhile: then a new one is taken.
    """
    values = (ROLE, local, actor.institution, local)
    try:
        _run(_connection(on), _ENTER, values)
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        on.rollback()  # of nothing: nothing was done yet
        _run(_connection(on), _ENTER, values)


def _connection(on: Session | sa.Connection) -> sa.Connection:
    return on.connection() if isinstance(on, Session) else on


def _step_down(connection: Any, _record: Any) -> None:
    """A new connection works as the role that owns nothing; without it row-level security would not hold."""
    connection.autocommit = True
    connection.execute(STEP_DOWN)
    connection.autocommit = False


def _only_read(connection: Any, _record: Any) -> None:
    """A new connection that can write nothing, whatever is asked of it."""
    connection.autocommit = True
    connection.execute("SET default_transaction_read_only = on")


class Database:
    """Engines and sessions over one PostgreSQL address (`postgresql+psycopg://…`).

    Reading has connections of its own, without a transaction around it: every statement sees what is committed by then,
    as it would in one (READ COMMITTED), and two of the four words that a transaction costs are saved.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        self.url = url
        self.clock = clock
        # called with every unit that had an effect, last before its commit
        self.before_commit: Callable[[Unit], None] = lambda _unit: None
        # the one used last comes first: its statements are prepared, and the others may rest. Few are above the size
        # that is kept, for to make one costs more than ten requests, and those come when there is no time for it
        pool: dict[str, Any] = {"pool_timeout": 10, "pool_use_lifo": True}
        self.engine = sa.create_engine(url, pool_size=30, max_overflow=10, **pool)
        sa.event.listen(self.engine, "connect", _step_down)
        self.readers = sa.create_engine(url, isolation_level="AUTOCOMMIT", pool_size=25, max_overflow=5, **pool)
        sa.event.listen(self.readers, "connect", _step_down)
        sa.event.listen(self.readers, "connect", _only_read)
        # whoever owns the tables: for migrations alone, on connections that are not kept
        self.owner = sa.create_engine(url, poolclass=sa.NullPool)

    @property
    def conninfo(self) -> str:
        """The same address for psycopg itself."""
        return self.url.replace("postgresql+psycopg://", "postgresql://", 1)

    @contextmanager
    def unit(self, actor: Actor) -> Iterator[Unit]:
        with Session(self.engine, expire_on_commit=False) as session:  # which rolls back what is not committed
            _enter(session, actor, local=True)
            unit = Unit(session, actor, self.clock)
            yield unit
            unit.finish()
            if unit.effective:
                self.before_commit(unit)
            session.commit()

    @contextmanager
    def read(self, actor: Actor) -> Iterator[Session]:
        """A session for reading what `actor` may see; the database refuses it any write."""
        with Session(self.readers) as session:
            _enter(session, actor, local=False)
            yield session

    def look_up(self, actor: Actor, statement: str, values: Mapping[str, Any]) -> Any:
        """The one row that `statement` (in the driver's spelling, `%(name)s`) finds of what `actor` may see, or None.

        For what every request asks. Raises MultipleResultsFound.
        """
        with self.readers.connect() as connection:
            _enter(connection, actor, local=False)
            rows = _run(connection, statement, values, namedtuple_row).fetchall()
        if len(rows) > 1:
            raise MultipleResultsFound(f"{len(rows)} rows where one was looked for")
        return rows[0] if rows else None

    def dispose(self) -> None:
        self.engine.dispose()
        self.readers.dispose()
        self.owner.dispose()
