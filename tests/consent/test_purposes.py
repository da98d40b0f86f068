"""The published code lists are complete and speak both languages (R14, R43, R50)."""

from __future__ import annotations

from consent.purposes import (
    CATEGORIES,
    DEFINITIONS,
    MODE_DEFINITIONS,
    PERSONAL_CATEGORIES,
    PURPOSE_MODES,
    Mode,
    Purpose,
)


def test_every_code_has_a_definition_in_both_languages() -> None:
    assert set(DEFINITIONS) == set(PURPOSE_MODES) == set(Purpose)
    assert set(MODE_DEFINITIONS) == set(Mode)
    for zh, en in (*DEFINITIONS.values(), *MODE_DEFINITIONS.values(), *CATEGORIES.values()):
        assert not zh.isascii() and en


def test_no_purposes_main_use_is_anothers() -> None:
    """R14, PIPL §23: training, scoring, monitoring and report query are four separate consents."""
    main = [modes[0] for modes in PURPOSE_MODES.values()]
    assert len(set(main)) == len(main) == 4
    for purpose, modes in PURPOSE_MODES.items():
        assert not set(main) - {modes[0]} & set(modes), purpose


def test_the_catalogues_17_categories_are_there() -> None:
    """R36; categories about persons are marked."""
    assert len(CATEGORIES) == 17
    assert CATEGORIES.keys() >= PERSONAL_CATEGORIES
