"""The quality of what sources deliver: measured by item and source over time, fed back, and followed until corrected.

Owns the measures and the tickets (R54). Never changes a record.
"""

from features.quality.measures import Measure, measure
from features.quality.tickets import Ticket, TicketRefused, answer, open_tickets, review, ticket_list

__all__ = ["Measure", "Ticket", "TicketRefused", "answer", "measure", "open_tickets", "review", "ticket_list"]
