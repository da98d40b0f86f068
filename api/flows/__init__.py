"""Durable flows: work in parts that a kill interrupts and the next start, or another worker, goes on with."""
