"""A real Kubernetes cluster on a bare Linux machine, for tests and the demo; see README.md."""

from .cluster import Cluster
from .namespaces import ClusterError

__all__ = ["Cluster", "ClusterError"]
