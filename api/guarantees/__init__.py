"""Guarantors as parties of an application, each with an answer of its own (R65)."""
