"""Receipts: what the platform hands out for every document of a consent, with its place in the ledger and the proof."""
