"""Joint-modelling jobs: proposed, approved by two, ticketed, and followed until both sides have ended."""
