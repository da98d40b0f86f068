"""Reports of a month: upward to the managing body, and back to each institution on the use of what it provided."""
