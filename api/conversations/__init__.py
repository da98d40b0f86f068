"""Messages between an enterprise and the institution that works on its application (R7)."""
