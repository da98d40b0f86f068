"""Federated computation: the relay between two nodes, and `engine/`, the sandboxed SecretFlow process."""
