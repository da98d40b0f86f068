"""Disputes of what was used or scored, and complaints: opened by an enterprise, answered against a clock."""
