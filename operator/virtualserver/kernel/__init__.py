"""The kernel's door: reads a node's state, applies operations. Knows netlink; decides nothing."""
