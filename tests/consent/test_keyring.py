"""The platform's keys over time: rotation, retirement, compromise, and what a keyring refuses (R48)."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.canonical import canonical
from consent.keyring import (
    DOCUMENTS,
    RECOVERY,
    KeyNotValid,
    Keyring,
    KeyringForked,
    KeyringRefused,
    KeyringRolledBack,
    UnknownKey,
    UnknownKeyringVersion,
)
from consent.keys import BadSignature, SigningKey
from consent.signed import NotCanonical, sign
from consent.suites.errors import SuiteNotAllowed
from consent.times import stamp

START = datetime(2026, 1, 1, tzinfo=UTC)
ONE, TWO, OTHER = SigningKey.generate(), SigningKey.generate("sm2"), SigningKey.generate()
SAFE = SigningKey.generate()


def day(number: float) -> str:
    return stamp(START + timedelta(days=number))


def founded(recovery: bool = True) -> Keyring:
    return Keyring.found(
        ONE,
        platform="zone",
        at=day(0),
        valid_until=day(365),
        recovery=SAFE.public if recovery else None,
        recovery_until=day(3650) if recovery else None,
    )


def rotated() -> Keyring:
    """Key ONE until day 365, key TWO (of the other suite) from day 300, told on day 290."""
    return founded().add(ONE, TWO.public, at=day(290), valid_from=day(300), valid_until=day(700))


def document(key: SigningKey, role: str = "platform") -> dict:
    return sign({"type": "ticket"}, key, role)


def test_a_node_that_trusts_the_first_key_follows_to_the_second() -> None:
    keyring = Keyring.read(rotated().to_json(), ONE.public)
    assert keyring.current(day(10)).public == ONE.public
    assert keyring.current(day(310)).public == TWO.public
    assert keyring.verify(document(TWO), "platform", day(310)) == {"type": "ticket"}
    assert keyring.verify(document(ONE), "platform", day(310))  # both are valid while they overlap


def test_old_documents_still_verify_after_the_key_has_ended() -> None:
    keyring = rotated().retire(TWO, ONE.public.key_id, at=day(320))
    assert keyring.verify(document(ONE), "platform", day(319))
    for late in (day(320), day(400)):
        with pytest.raises(KeyNotValid, match="is valid from") as caught:
            keyring.verify(document(ONE), "platform", late)
        assert caught.value.code == "key_not_valid" and "有效期" in caught.value.message_zh


def test_a_key_outside_its_time_is_refused() -> None:
    keyring = rotated()
    assert keyring.verify(document(ONE), "platform", day(0))
    for key, at in ((ONE, day(-1)), (ONE, day(365)), (TWO, day(299)), (TWO, day(700))):
        with pytest.raises(KeyNotValid):
            keyring.verify(document(key), "platform", at)
    with pytest.raises(KeyNotValid, match="no key of the platform is valid"):
        keyring.current(day(701))


def test_a_key_that_is_not_on_the_keyring_is_refused() -> None:
    with pytest.raises(UnknownKey):
        rotated().verify(document(OTHER), "platform", day(1))
    with pytest.raises(UnknownKey):
        rotated().key("0" * 16)


def test_a_compromised_key_counts_only_where_the_date_is_known_from_elsewhere() -> None:
    keyring = rotated().compromise(TWO, ONE.public.key_id, since=day(200), at=day(305))
    with pytest.raises(KeyNotValid, match="compromised"):
        keyring.verify(document(ONE), "platform", day(100))
    assert keyring.verify(document(ONE), "platform", day(199), witnessed=True)
    for late in (day(200), day(250)):
        with pytest.raises(KeyNotValid, match="compromised"):
            keyring.verify(document(ONE), "platform", late, witnessed=True)
    assert keyring.current(day(310)).public == TWO.public


def test_a_compromised_key_is_never_current() -> None:
    keyring = founded().compromise(SAFE, ONE.public.key_id, since=day(5), at=day(10))
    with pytest.raises(KeyNotValid):
        keyring.current(day(11))
    saved = keyring.add(SAFE, TWO.public, at=day(10), valid_from=day(10), valid_until=day(400))
    assert saved.current(day(11)).public == TWO.public
    assert Keyring.read(saved.to_json(), ONE.public) == saved


def test_a_recovery_key_signs_keyrings_and_nothing_else() -> None:
    keyring = founded()
    assert keyring.key(SAFE.public.key_id).use == RECOVERY
    assert keyring.current(day(1)).public == ONE.public
    with pytest.raises(KeyNotValid, match="keyrings only"):
        keyring.verify(document(SAFE), "platform", day(1))


def test_a_key_cannot_declare_itself_compromised() -> None:
    """Whoever stole it could otherwise date the theft as suits."""
    with pytest.raises(KeyNotValid, match="itself"):
        founded().compromise(ONE, ONE.public.key_id, since=day(1), at=day(2))


def test_a_compromised_or_ended_key_cannot_extend_the_keyring() -> None:
    broken = rotated().compromise(SAFE, ONE.public.key_id, since=day(200), at=day(305))
    for keyring, at in ((broken, day(306)), (rotated(), day(366))):
        with pytest.raises(KeyNotValid):
            keyring.add(ONE, OTHER.public, at=at, valid_from=at, valid_until=day(800))
    with pytest.raises(UnknownKey):
        rotated().add(OTHER, OTHER.public, at=day(291), valid_from=day(300), valid_until=day(800))


def test_a_new_key_cannot_begin_in_the_past() -> None:
    with pytest.raises(KeyringRefused, match="begins at or after"):
        founded().add(ONE, TWO.public, at=day(290), valid_from=day(289), valid_until=day(700))


def test_a_keyring_of_another_founder_is_refused() -> None:
    with pytest.raises(KeyringRefused, match="trusted is"):
        Keyring.read(rotated().to_json(), TWO.public)
    forged = Keyring.found(OTHER, platform="zone", at=day(0), valid_until=day(365))
    with pytest.raises(KeyringRefused):
        Keyring.read(forged.to_json(), ONE.public)


def test_a_node_goes_forward_only() -> None:
    known, newer = founded(), rotated()
    assert known.advance(newer.to_json()) == newer
    assert newer.advance(newer.to_json()) == newer
    with pytest.raises(KeyringRolledBack):
        newer.advance(known.to_json())
    fork = known.add(ONE, OTHER.public, at=day(290), valid_from=day(300), valid_until=day(700))
    with pytest.raises(KeyringForked):
        newer.advance(fork.to_json())
    with pytest.raises(KeyringForked):
        newer.extend(fork.statements[-1])


def test_a_missing_or_swapped_statement_is_refused() -> None:
    keyring = rotated().retire(TWO, ONE.public.key_id, at=day(320))
    first, second, third = keyring.statements
    for statements in ([second, third], [first, third], [second, first], [first, first], [], {}, [first, second, 1]):
        with pytest.raises(KeyringRefused):
            Keyring.read_untrusted(canonical(statements))


def test_a_verifier_may_bound_the_suites() -> None:
    raw = rotated().to_json()
    assert Keyring.read(raw, ONE.public, {"ed25519", "sm2"})
    with pytest.raises(SuiteNotAllowed):
        Keyring.read(raw, ONE.public, {"ed25519"})
    with pytest.raises(SuiteNotAllowed):
        Keyring.read(raw, ONE.public, {"sm2"})
    with pytest.raises(SuiteNotAllowed):
        rotated().verify(document(ONE), "platform", day(310), allowed={"sm2"})


def _restated(keyring: Keyring, key: SigningKey, **changes: object) -> dict:
    """A statement signed again with a changed body: what the signer itself might try."""
    return sign({**copy.deepcopy(keyring.statements[-1]["body"]), **changes}, key, "keyring")


def test_a_signer_cannot_rewrite_what_was_said() -> None:
    keyring = rotated()
    after = keyring.retire(TWO, ONE.public.key_id, at=day(320)).compromise(
        TWO, ONE.public.key_id, since=day(310), at=day(330)
    )
    keys = after.statements[-1]["body"]["keys"]

    def changed(number: int, **fields: object) -> list:
        return [{**each, **(fields if i == number else {})} for i, each in enumerate(keys)]

    following = {"sequence": 5, "previous": None, "issued_at": day(340)}
    # the digest of the last statement, taken from a good successor
    following["previous"] = after.retire(TWO, SAFE.public.key_id, at=day(340)).statements[-1]["body"]["previous"]
    assert after.extend(_restated(after, TWO, **following))
    bad = {
        "valid_until": changed(0, valid_until=day(999)),
        "valid_from": changed(0, valid_from=day(1)),
        "use": changed(1, use=DOCUMENTS),
        "unretired": changed(0, retired_at=None),
        "retired again": changed(0, retired_at=day(341)),
        "retired in the past": changed(2, retired_at=day(330)),
        "not compromised": changed(0, compromised_at=None),
        "compromised later": changed(0, compromised_at=day(311)),
        "compromised in the future": changed(2, compromised_at=day(341)),
        "removed": keys[:-1],
        "reordered": list(reversed(keys)),
        "twice": [*keys, keys[0]],
        "none": [],
    }
    for now in bad.values():
        with pytest.raises(BadSignature):
            after.extend(_restated(after, TWO, keys=now, **following))
    earlier = after.extend(_restated(after, TWO, keys=changed(0, compromised_at=day(305)), **following))
    assert earlier.key(ONE.public.key_id).compromised_at == day(305)
    for field, value in (
        ("issued_at", day(329)),
        ("issued_at", "2026-12-01"),
        ("platform", "another"),
        ("sequence", 6),
        ("sequence", True),
        ("previous", "0" * 64),
        ("type", "ticket"),
    ):
        with pytest.raises(BadSignature):
            after.extend(_restated(after, TWO, **{**following, field: value}))
    with pytest.raises(UnknownKeyringVersion):
        after.extend(_restated(after, TWO, **{**following, "version": 2}))


def test_two_signatures_on_a_statement_are_refused() -> None:
    statement = copy.deepcopy(founded().statements[0])
    statement["signatures"] *= 2
    with pytest.raises(KeyringRefused, match="exactly one"):
        Keyring.read_untrusted(canonical([statement]))


RAW = rotated().compromise(TWO, ONE.public.key_id, since=day(200), at=day(305)).to_json()


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, 20_000), change=st.integers(1, 255))
def test_any_changed_byte_of_a_keyring_is_refused(position: int, change: int) -> None:
    raw = bytearray(RAW)
    raw[position % len(raw)] ^= change
    with pytest.raises(BadSignature):
        Keyring.read(bytes(raw), ONE.public)


def test_only_the_canonical_form_is_read() -> None:
    for raw in (json.dumps(json.loads(RAW)).encode(), RAW + b"\n", b"", b"{}", b"[]", b"[1]", b"[[]]"):
        with pytest.raises((NotCanonical, KeyringRefused)):
            Keyring.read(raw, ONE.public)


# ---- random histories

POOL = [ONE, SAFE, *(SigningKey.generate() for _ in range(4)), TWO]
STEPS = st.tuples(
    st.sampled_from(["add", "retire", "compromise"]),
    st.integers(0, len(POOL) - 1),
    st.integers(0, len(POOL) - 1),
    st.integers(0, 60),
    st.integers(-60, 60),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(STEPS, max_size=10))
def test_random_histories_stay_sound(steps: list[tuple[str, int, int, int, int]]) -> None:
    """Whatever is tried, a keyring reads back as itself, forgets nothing, and judges by the key's own time."""
    keyring, now = founded(), 0
    for what, by, about, later, offset in steps:
        before, now = keyring, now + later
        signer, key = POOL[by], POOL[about]
        try:
            if what == "add":
                keyring = keyring.add(
                    signer, key.public, at=day(now), valid_from=day(now + offset), valid_until=day(now + offset + 90)
                )
            elif what == "retire":
                keyring = keyring.retire(signer, key.public.key_id, at=day(now))
            else:
                keyring = keyring.compromise(signer, key.public.key_id, since=day(now + offset), at=day(now))
        except BadSignature:
            now -= later
            continue
        # the signer was on the keyring, in its time and not compromised
        used = before.key(signer.public.key_id)
        assert used.compromised_at is None and used.valid_from <= day(now) < used.end
        assert [k.public for k in keyring.keys[: len(before.keys)]] == [k.public for k in before.keys]
        assert before.advance(keyring.to_json()) == keyring
    assert Keyring.read(keyring.to_json(), ONE.public) == keyring
    for key in POOL:
        at = day(now / 2)
        try:
            known = keyring.key(key.public.key_id)
        except UnknownKey:
            known = None
        good = (
            known is not None
            and known.use == DOCUMENTS
            and known.compromised_at is None
            and known.valid_from <= at < known.end
        )
        if good:
            assert keyring.verify(document(key), "platform", at)
        else:
            with pytest.raises(BadSignature):
                keyring.verify(document(key), "platform", at)
    try:
        chosen = keyring.current(day(now))
    except KeyNotValid:
        return
    keyring.check(chosen.public, day(now))
