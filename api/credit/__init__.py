"""The credit ledger: what was granted, paid out and repaid, as institutions report it."""
