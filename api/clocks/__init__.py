"""Deadlines of the financing workflow: set on entry, stopped on exit, with reminders and lists of what is overdue."""
