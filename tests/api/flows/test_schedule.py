"""Scheduled work runs once for each moment, however many workers share the database, and after a restart."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from croniter import croniter

from api import migrations
from api.flows.work import WORKS

TICKER = Path(__file__).with_name("ticker.py")


def worker(url: str, name: str, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, str(TICKER), url, name, str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])


def ticks(url: str) -> list[tuple[str, str]]:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        rows = connection.execute("SELECT object_id, detail ->> 'worker' FROM audit WHERE action = 'tick' ORDER BY seq")
        return [(row[0], row[1]) for row in rows]


def test_two_workers_share_one_database_and_do_each_moment_once(new_database: Callable[[], str]) -> None:
    url = new_database()
    workers = [worker(url, name, 7) for name in ("w-one", "w-two")]
    for process in workers:
        assert process.wait(60) == 0
    done = ticks(url)
    moments = [datetime.fromisoformat(moment) for moment, _ in done]
    assert len(set(moments)) == len(moments), "a moment was done twice"
    span = (max(moments) - min(moments)) / timedelta(seconds=1)
    assert span >= 4
    assert len(moments) >= span * 0.7  # a busy machine may be late, not lazy


def test_the_schedule_survives_a_kill(new_database: Callable[[], str]) -> None:
    url = new_database()
    first = worker(url, "w-one", 60)
    assert first.stdout is not None
    first.stdout.readline()
    try:
        first.wait(3)
    except subprocess.TimeoutExpired:
        first.kill()
        first.wait()
    before = ticks(url)
    assert before
    assert worker(url, "w-one", 4).wait(60) == 0
    after = ticks(url)
    assert len(after) > len(before)
    assert len({moment for moment, _ in after}) == len(after)


@pytest.mark.parametrize("work", WORKS.values(), ids=lambda work: work.name)
def test_every_work_of_the_table_has_a_time_and_words_in_both_languages(work: object) -> None:
    assert croniter(work.cron, datetime(2026, 1, 1), second_at_beginning=True).get_next()  # type: ignore[attr-defined]
    assert work.title and any("\u4e00" <= c <= "\u9fff" for c in work.title_zh)  # type: ignore[attr-defined]


def test_migrations_leave_the_engines_own_schema_alone(new_database: Callable[[], str]) -> None:
    url = new_database()
    assert worker(url, "w-one", 1).wait(60) == 0
    engine = sa.create_engine(url)
    migrations.downgrade(engine, "base")
    migrations.upgrade(engine)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM pg_tables WHERE schemaname = 'dbos'"))
    engine.dispose()
