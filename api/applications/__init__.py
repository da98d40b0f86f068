"""Applications for a product or an open need: reviewed, referred to institutions, followed to a result."""
