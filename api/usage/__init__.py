"""The record of every use of credit data (R46): who, which institution, when, why, what, of whom, for what."""
