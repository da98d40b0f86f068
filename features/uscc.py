"""The unified social credit code (USCC, GB 32100-2015): its alphabet and its check character.

Owns the arithmetic of the code. Never looks an enterprise up and never says whether one exists.
"""

from __future__ import annotations

import numpy as np

ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_VALUE = {character: value for value, character in enumerate(ALPHABET)}
_WEIGHTS = tuple(pow(3, position, 31) for position in range(17))
#: Alphabet and weights of the nine-character organisation code inside it (GB 11714-1997).
_ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)
_ORGANISATION_VALUE = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class BadCode(ValueError):
    """The text is not a unified social credit code."""


def check_character(first: str) -> str:
    """The 18th character for the first 17: (31 − Σ value·3^(i−1) mod 31) mod 31, GB 32100-2015 §5."""
    if len(first) != 17 or any(character not in _VALUE for character in first):
        raise BadCode(f"the first 17 characters must be of {ALPHABET}")
    total = sum(_VALUE[character] * weight for character, weight in zip(first, _WEIGHTS, strict=True))
    return ALPHABET[(31 - total % 31) % 31]


def is_valid(code: str) -> bool:
    """Whether `code` is 18 characters of the alphabet with the right check character."""
    if len(code) != 18 or any(character not in _VALUE for character in code):
        return False
    return check_character(code[:17]) == code[17]


def organisation_check(first: str) -> str:
    """The ninth character of an organisation code: 11 − Σ value·weight mod 11, 10 = X (GB 11714-1997)."""
    total = sum(
        _ORGANISATION_VALUE.index(character) * weight
        for character, weight in zip(first, _ORGANISATION_WEIGHTS, strict=True)
    )
    remainder = 11 - total % 11
    return {10: "X", 11: "0"}.get(remainder, str(remainder))


def simulate(rng: np.random.Generator, count: int) -> list[str]:
    """`count` distinct well-formed codes of enterprises that cannot exist.

    The administrative division 449901 is not assigned in GB/T 2260, so no real enterprise has such a code.
    """
    numbers = rng.choice(10**7, size=count, replace=False)
    codes = []
    for number in numbers:
        organisation = f"M{number:07d}"
        first = "91" + "449901" + organisation + organisation_check(organisation)
        codes.append(first + check_character(first))
    return codes
