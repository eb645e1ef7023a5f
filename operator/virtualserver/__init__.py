"""Virtual servers for Kubernetes on Linux IPVS."""

__version__ = "0.1.0"
