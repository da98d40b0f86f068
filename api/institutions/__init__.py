"""Institutions and their accounts. Opened by the operator only, never by sign-up (R1)."""
