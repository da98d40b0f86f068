"""The registry of models as people see it: every model that a job made, and what became of it."""
