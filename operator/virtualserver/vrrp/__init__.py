"""keepalived's supervisor: a small process beside the agent that never lets addresses outlive keepalived."""
