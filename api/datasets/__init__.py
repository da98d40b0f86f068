"""What nodes say of their tables: names, kinds, meanings and counts, never a value."""
