"""Releases: nothing leaves the zone until two reviewers who are not its author agree and the operator approves."""
