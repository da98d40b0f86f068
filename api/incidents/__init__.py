"""Security incidents: reported at once by whoever notices one, worked on by the operator against a clock."""
