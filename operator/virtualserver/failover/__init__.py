"""``virtualserver failover`` and ``virtualserver drill``: planned failovers, asked for by people."""
