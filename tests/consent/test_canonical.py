"""Canonical bytes are those of RFC 8785, whichever encoder wrote them."""

from __future__ import annotations

from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from consent.canonical import canonical, digest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)


def reference(value: Any) -> bytes | type[Exception]:
    try:
        return bytes(rfc8785.dumps(value))
    except Exception as error:
        return type(error)


@given(JSON)
def test_bytes_are_those_of_the_reference(value: Any) -> None:
    try:
        own: bytes | type[Exception] = canonical(value)
    except Exception as error:
        own = type(error)
    assert own == reference(value)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"b": 1, "a": [True, None, "企业"]}, '{"a":[true,null,"企业"],"b":1}'),
        ({"€": 1, "\r": 2, "\U0001f600": 3, "ö": 4}, '{"\\r":2,"ö":4,"€":1,"\U0001f600":3}'),
        ({"n": [333333333.33333329, 1e30, 4.50, 2e-3, 1e-27]}, '{"n":[333333333.3333333,1e+30,4.5,0.002,1e-27]}'),
        ('\x00\x1f\x7f\b\t\n\f\r"\\/', '"\\u0000\\u001f\x7f\\b\\t\\n\\f\\r\\"\\\\/"'),
    ],
)
def test_the_examples_of_the_standard(value: Any, written: str) -> None:
    assert canonical(value) == written.encode()


@pytest.mark.parametrize("value", [2**53, float("nan"), "\ud800", {1: 2}, {"a": {"b": object()}}])
def test_what_json_cannot_carry_is_refused(value: Any) -> None:
    with pytest.raises(rfc8785.CanonicalizationError):
        canonical(value)


def test_the_digest_is_the_sha256_of_the_bytes() -> None:
    assert digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    assert digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
