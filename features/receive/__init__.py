"""Batches that source units push over HTTP into the lab's ingestion (R37, R60).

A service of the lab's data domain: the control plane neither sees it nor knows of it. A source unit is who its
certificate names, and may push what a grant allows. Owns the way from a request to ingestion; never checks a record
itself and never gives a record out.
"""
