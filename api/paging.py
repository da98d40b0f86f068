"""Keyset pagination: a page begins after the last row of the one before, so every page costs the same.

Owns the cursor, an opaque text that names the order and the last row's keys. It holds nothing secret: whoever reads
it saw that row.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Query
from pydantic import BaseModel, Field
from sqlalchemy.orm import InstrumentedAttribute, Session

from api.errors import Invalid

CursorParam = Annotated[
    str | None, Query(max_length=500, pattern=r"^[A-Za-z0-9_-]+$", description="`next` of the page before")
]


class Page[T](BaseModel):
    """One page; `next` is the cursor of the page after it, null on the last one."""

    items: list[T]
    next: str | None = Field(None, description="hand it back as `cursor`; null when this is the last page")


@dataclass(frozen=True)
class Order:
    """A way to sort: its columns, the last of them unique, all in one direction so that one index serves it."""

    name: str
    columns: tuple[InstrumentedAttribute[Any], ...]
    descending: bool = False

    def cursor(self, row: Any) -> str:
        """The cursor after `row`."""
        keys = [getattr(row, column.key) for column in self.columns]
        text = json.dumps([self.name, *map(_plain, keys)])
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    def after(self, cursor: str) -> sa.ColumnElement[bool]:
        """The condition of the rows after `cursor`. Raises Invalid for a cursor of another list or order."""
        try:
            name, *keys = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
            if name != self.name or len(keys) != len(self.columns):
                raise ValueError("a cursor of another order")
            values = [_typed(column, key) for column, key in zip(self.columns, keys, strict=True)]
        except (ValueError, TypeError, UnicodeDecodeError, binascii.Error, InvalidOperation) as error:
            raise Invalid(
                "cursor: not one of this list in this order: begin again without it",
                "cursor：不属于当前列表或排序：请去掉该参数重新查询",
                code="bad_cursor",
            ) from error
        left = sa.tuple_(*self.columns)
        right = sa.tuple_(*(sa.literal(v, c.type) for v, c in zip(values, self.columns, strict=True)))
        return left < right if self.descending else left > right


def _plain(key: Any) -> Any:
    if isinstance(key, datetime):
        return key.isoformat()
    return str(key) if isinstance(key, Decimal) else key


def _typed(column: InstrumentedAttribute[Any], key: Any) -> Any:
    kind = column.type.python_type
    if kind is Decimal:
        number = Decimal(key) if isinstance(key, str) else None
        if number is None or not number.is_finite() or abs(number) > 10**18:
            raise ValueError("a number is needed")
        return number
    if kind is datetime:
        moment = datetime.fromisoformat(key)
        if moment.tzinfo is None:
            raise ValueError("a moment without a zone")
        return moment
    if type(key) is not kind:
        raise ValueError(f"{kind.__name__} is needed")
    if isinstance(key, str) and "\0" in key:
        raise ValueError("a zero character")
    if isinstance(key, int) and not -(2**63) <= key < 2**63:
        raise ValueError("out of range")
    return key


def order_named(orders: Mapping[str, Order], name: str) -> Order:
    """The order that a caller asked for by `sort`. Raises Invalid naming those there are."""
    found = orders.get(name)
    if found is None:
        known = ", ".join(sorted(orders))
        raise Invalid(f"sort: one of {known}", f"sort：可选 {known}", code="bad_sort")
    return found


def page[T: BaseModel](
    session: Session, query: sa.Select[Any], order: Order, cursor: str | None, limit: int, show: Callable[[Any], T]
) -> Page[T]:
    """The page of `query` (of one entity, unsorted) after `cursor`, each row as `show` makes it."""
    rows, following = rows_of(session, query, order, cursor, limit)
    return Page(items=[show(row) for row in rows], next=following)


def rows_of(
    session: Session, query: sa.Select[Any], order: Order, cursor: str | None, limit: int
) -> tuple[Sequence[Any], str | None]:
    """The rows of that page and the next one's cursor, for who looks up what is shown for all of them at once."""
    if cursor is not None:
        query = query.where(order.after(cursor))
    keys = [column.desc() if order.descending else column.asc() for column in order.columns]
    rows: Sequence[Any] = session.scalars(query.order_by(*keys).limit(limit + 1)).all()
    more = len(rows) > limit
    rows = rows[:limit]
    return rows, order.cursor(rows[-1]) if more else None
