"""A real server outside the cluster: ``virtualserver real-server``, and the same as a plain script."""
