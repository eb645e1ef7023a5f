"""The node agent: one task that reads, decides, applies and reports. Knows no client library and no netlink."""
