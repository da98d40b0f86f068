"""Consent: the artefact, its life cycle and purposes, signed tickets, and the policy that says what may be done.

The only vocabulary that the control plane and the domain nodes share. Pure: no web, no database, no clock of its
own, nothing of ours imported.
"""
