"""Builds KubeTune's container images and hands them to a cluster or a registry."""
