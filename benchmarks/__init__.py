"""What the product costs beside the plain tools it is built on, measured in one run and told as ratios.

Owns the sections, their common result file and the table in `docs/benchmarks.md`. It changes nothing in the product:
every section runs what the product runs.
"""
