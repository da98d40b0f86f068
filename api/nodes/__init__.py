"""Domain nodes: what each says of itself, when it was last heard, and the work that waits for it."""
