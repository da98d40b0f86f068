"""The input side of joint modelling: the contract of a pair of tables, its validation, simulated examples.

Owns what a `dataset.toml` means and what a table must be before anything runs on it. Never trains, never
sends anything anywhere, never quotes the value of a cell in a message.
"""
