"""Scores on demand: a consent at that moment, a usage record, a signed permit, and a node's answer passed on."""
