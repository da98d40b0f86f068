"""Admission of institutions: written applications, agreement and security assessment before anything is opened."""
