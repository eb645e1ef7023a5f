"""Benchmarks: what the project costs, measured in one run beside a peer where there is one.

`python -m bench` prints a table and writes one JSON line per figure to `bench-results.jsonl`.
"""
