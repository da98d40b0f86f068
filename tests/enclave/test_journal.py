"""What the node's own memory says of past uses (R46)."""

from __future__ import annotations

from pathlib import Path

from enclave.journal import Journal


def test_past_uses_count_each_reference_once_and_never_the_present_one(tmp_path: Path) -> None:
    """A permit that comes twice is one use, and its own first coming is no reason to refuse the second."""
    journal = Journal(tmp_path / "journal.sqlite")
    for at, consent_id, reference in (
        ("2026-01-01T00:00:00Z", "c-1", "p-1"),
        ("2026-01-01T00:00:09Z", "c-1", "p-1"),
        ("2026-01-02T00:00:00Z", "c-1", "p-2"),
        ("2026-01-03T00:00:00Z", "c-2", "p-3"),
    ):
        journal.record_uses(
            [("e1", consent_id)],
            at=at, recipient="bank_a", purpose="underwriting_score", content="score", reference=reference,
        )  # fmt: skip
    assert journal.past_uses("e1", "p-2") == {"c-1": ["2026-01-01T00:00:00Z"], "c-2": ["2026-01-03T00:00:00Z"]}
    assert journal.past_uses("e2", "p-2") == {}
    journal.close()
