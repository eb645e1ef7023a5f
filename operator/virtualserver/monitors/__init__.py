"""Checks of real servers: one file per type, one runner for all of them. Results go up, nothing is decided here."""
