"""One use of one enterprise's data: allowed and on record before a node is asked, answered within a deadline."""
