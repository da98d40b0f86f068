"""One day's work on a view: whom the day can have changed, and their states anew, category beside category.

Of a category of which little changed nearly all the work is a dozen small queries, which no database shares out among
threads. So such categories are worked side by side, each by one thread with a connection of its own to one database,
whose limit of memory holds for all of them together. Owns who works when. Never publishes what it made.
"""

# ruff: noqa: S608 - the SQL is put together from the catalogue, never from what a user types

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import duckdb

from features.derive.build import fetch, keep
from features.derive.compiler import Plan
from features.derive.refresh import touched
from features.derive.view import Moment
from features.store.manifest import Snapshot

#: Enterprises of a category up to which one thread computes them anew, beside another category.
_FEW = 20_000


@dataclass(frozen=True)
class Job:
    """The enterprises of one category that a day can have changed: the table `touched` of the connection `db`."""

    plan: Plan
    db: duckdb.DuckDBPyConnection
    count: int


def find(
    db: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    plans: Sequence[Plan],
    since: tuple[int, dt.date],
    as_of: dt.date,
    threads: int,
) -> list[Job]:
    """A job for each plan, in their order. `since`: the commit and date of the states that there are."""

    def found(plan: Plan) -> Job:
        own = connections[plan.category.id]
        query = touched(own, snapshot, plan, *since, as_of)
        return Job(plan, own, keep(own, "touched", f"SELECT DISTINCT uscc FROM ({query})") if query else 0)

    connections = {plan.category.id: db.cursor() for plan in plans}
    db.execute("SET threads = 1")
    size = {plan.category.id: sum(one.rows for one in snapshot.of(plan.category.id)) for plan in plans}
    made = side_by_side(found, sorted(plans, key=lambda plan: -size[plan.category.id]), threads)
    by_category = {job.plan.category.id: job for job in made}
    return [by_category[plan.category.id] for plan in plans]


def compute(
    db: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    jobs: Iterable[Job],
    as_of: dt.date,
    write: Callable[[duckdb.DuckDBPyConnection, str], str],
    threads: int,
) -> dict[str, str]:
    """Category → what `write` returned for a query of the new states, for each job that has any."""

    def computed(job: Job) -> tuple[str, str]:
        with job.db as own:
            at = Moment(as_of, "touched", fetch(own, snapshot, job.plan.category, "touched"))
            source = f"touched LEFT JOIN ({job.plan.state(snapshot, at)}) USING (uscc)"
            # planned once here; a reader plans a query for every question about it
            own.execute(f"CREATE TEMP TABLE anew AS SELECT uscc, {job.plan.values(None)} FROM {source}")
            return job.plan.category.id, write(own, "SELECT * FROM anew ORDER BY uscc")

    # the largest first, so that all threads end at about the same time
    waiting = sorted((job for job in jobs if job.count), key=lambda job: -job.count)
    db.execute("SET threads = 1")
    made = dict(side_by_side(computed, [job for job in waiting if job.count <= _FEW], threads))
    db.execute(f"SET threads = {threads}")
    return made | dict(computed(job) for job in waiting if job.count > _FEW)


def side_by_side[Task, Answer](work: Callable[[Task], Answer], tasks: Iterable[Task], threads: int) -> list[Answer]:
    """What `work` makes of each task, in their order, begun in that order by so many threads.

    Once one fails no other is begun; its error is raised when those under way have ended.
    """
    failures: list[BaseException] = []

    def begun(task: Task) -> list[Answer]:
        if failures:
            return []
        try:
            return [work(task)]
        except BaseException as error:
            failures.append(error)
            return []

    with ThreadPoolExecutor(threads) as pool:
        answers = [answer for some in pool.map(begun, tasks) for answer in some]
    if failures:
        raise failures[0]
    return answers
