"""Rate limits: each credential its own, and few wrong credentials for each address."""

from __future__ import annotations

from collections.abc import Callable

import httpx

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
