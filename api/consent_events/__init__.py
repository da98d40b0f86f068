"""Feed to bank systems: what became of the consents and requests that concern an institution, by poll or webhook."""
