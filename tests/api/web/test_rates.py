"""Rate limits: each credential its own, and few wrong credentials for each address."""

from __future__ import annotations

from collections.abc import Callable

import httpx
from hypothesis import given
from hypothesis import strategies as st

from api.web.rates import PerMinute
from tests.api.world import World


def test_a_credential_beyond_its_limit_is_told_when_to_come_back(make_world: Callable[..., World]) -> None:
    world = make_world(rate_per_minute=60)
    risk = {"Authorization": f"Bearer {world.tokens['risk']}"}
    with httpx.Client(base_url=world.url, headers=risk) as client:
        answers = [client.get("/v1/whoami") for _ in range(70)]
        late = answers[-1]
        assert (late.status_code, late.json()["code"]) == (429, "rate_limited")
        assert 1 <= int(late.headers["retry-after"]) <= 60
        assert late.json()["detail_zh"]
        assert client.get("/healthz").status_code == 200
    operator = {"Authorization": f"Bearer {world.tokens['reviewer1']}"}
    assert httpx.get(f"{world.url}/v1/whoami", headers=operator).status_code == 200


def test_an_address_that_guesses_tokens_is_shut_out(make_world: Callable[..., World]) -> None:
    """R20: a source that tries credentials is noticed and stopped; those it had are of no use from there either."""
    world = make_world(rate_failures_per_minute=5)
    with httpx.Client(base_url=world.url) as client:
        seen = [client.get("/v1/whoami", headers={"Authorization": f"Bearer guess-{i}"}).status_code for i in range(8)]
        assert seen[:5] == [401] * 5
        assert seen[-1] == 429
        assert client.get("/v1/whoami", headers={"Authorization": "Bearer other"}).status_code == 429


class Hand:
    """A clock set by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_the_minute_that_is_over_counts_for_what_of_it_is_less_than_a_minute_ago() -> None:
    clock = Hand()
    clock.now = 60_000.0
    rate = PerMinute(10, clock)
    for _ in range(10):
        assert not rate.full("a")
        rate.count("a")
    assert rate.full("a")
    assert not rate.full("b")
    clock.now += 60  # all ten still count
    assert rate.full("a")
    clock.now += 30  # half of them
    for _ in range(5):
        assert not rate.full("a")
        rate.count("a")
    assert rate.full("a")
    clock.now += 120
    assert not rate.full("a")
    assert rate._now == {} and rate._before == {}, "who is not heard is forgotten"


@given(st.integers(1, 20), st.lists(st.tuples(st.floats(0, 70), st.integers(1, 30)), min_size=1, max_size=12))
def test_whoever_waits_as_told_is_let_in(limit: int, bursts: list[tuple[float, int]]) -> None:
    clock = Hand()
    rate = PerMinute(limit, clock)
    for pause, asked in bursts:
        clock.now += pause
        for _ in range(asked):
            if not rate.full("a"):
                rate.count("a")
        wait = rate.wait("a")
        assert 0 <= wait <= 60
        assert rate.full("a") or wait == 0
        if rate.full("a"):
            clock.now += wait + 1e-3
            assert not rate.full("a")
