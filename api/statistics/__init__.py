"""Statistics before, during and after the loan (R26, R45)."""
