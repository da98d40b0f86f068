"""Joint-modelling projects: which parties train together, for what, under which agreement."""
