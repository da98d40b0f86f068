"""The unified social credit code of an enterprise (USCC, GB 32100-2015): its form and its check character.

Owns the check for those who know consents and not features; `features.uscc` has the same arithmetic for tables and
stands alone, and a test holds the two together. Never looks an enterprise up and never says whether one exists.
"""

from __future__ import annotations

from consent.errors import Refused

ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
LENGTH = 18


class BadUscc(Refused):
    """Not a unified social credit code."""

    code = "uscc_invalid"


def check(code: str) -> str:
    """The code itself. The 18th character is (31 − Σ value·3^(i−1) mod 31) mod 31, GB 32100-2015 §5. Raises BadUscc."""
    if len(code) != LENGTH or any(character not in ALPHABET for character in code):
        raise BadUscc(
            f"a unified social credit code has {LENGTH} characters of {ALPHABET}",
            f"统一社会信用代码须为 {LENGTH} 位，由 {ALPHABET} 组成",
        )
    total = sum(ALPHABET.index(character) * pow(3, i, 31) for i, character in enumerate(code[:-1]))
    if ALPHABET[(31 - total % 31) % 31] != code[-1]:
        raise BadUscc(
            "the check character of the unified social credit code is wrong: look for a typing error",
            "统一社会信用代码的校验码不符：请检查是否有误",
        )
    return code
