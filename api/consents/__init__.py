"""Consents, refusals and withdrawals: imported, verified, countersigned, and told to the nodes by one feed."""
