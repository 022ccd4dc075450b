"""The KubeTune operator."""
