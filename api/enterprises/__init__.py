"""Enterprises on the platform: who they are, who acts for them, their passkeys and their sessions."""
