"""Decisions as pure functions over frozen values. No socket, no clock, no environment, no library of a layer above."""
