"""Consents, refusals and transitions: imported, verified, countersigned, and told to the nodes by one feed."""
