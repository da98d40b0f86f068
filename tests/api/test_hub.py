"""Waking: what happens to those who wait when the database connection under the hub is lost."""

from __future__ import annotations

import threading
import time

import sqlalchemy as sa

from tests.api.world import World


def test_a_lost_listening_connection_is_made_again_and_nobody_waits_in_vain(world: World) -> None:
    world.cohort()
    job_id = world.proposed()
    world.owner.approve_job(job_id, "fits")
    answers: list[list] = []
    poll = threading.Thread(target=lambda: answers.append(world.lab.work(wait=20)))
    poll.start()
    time.sleep(0.3)
    with world.db.owner.connect() as connection:
        cut = connection.scalars(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
            )
        ).all()
    assert cut == [True]
    world.operator.approve_job(job_id, "in order")  # said while nobody listens
    poll.join(4)
    assert answers
    assert answers[0][0]["kind"] == "job"


def test_a_closing_server_answers_those_who_wait(world: World) -> None:
    answers: list[list] = []
    poll = threading.Thread(target=lambda: answers.append(world.lab.work(wait=20)))
    poll.start()
    time.sleep(0.3)
    world.control.hub.close()
    poll.join(2)
    assert answers == [[]]
