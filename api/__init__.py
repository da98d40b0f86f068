"""The control plane: people, consents, jobs, releases and scores as one API.

It knows who consented to what and where each job stands; it never holds, receives or proxies a feature, a
label, a score's inputs or a job's cohort. Of our packages it imports `consent` only.
"""
