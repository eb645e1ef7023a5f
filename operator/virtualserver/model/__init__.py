"""Frozen values in the kernel's words. Imports nothing but the standard library; performs no I/O."""
