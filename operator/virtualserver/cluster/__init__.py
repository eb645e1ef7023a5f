"""Everything that talks to the Kubernetes API. Only this layer imports ``kubernetes``; it decides nothing."""
