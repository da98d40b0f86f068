"""Data about one enterprise from a lab's store: queries, verifications, credit reports, each by permit (R14, R43)."""
