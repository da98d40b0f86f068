"""Backups of the control plane: made whole, tried at once, encrypted, copied off-site, verified and restored (R42)."""
