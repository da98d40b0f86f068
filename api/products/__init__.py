"""Financing products: published by institutions after review, filtered by enterprises, on and off the shelf."""
