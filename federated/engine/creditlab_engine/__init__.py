"""The sandboxed engine of one party in one federated job.

Owns the whole federated computation: a bridge that turns the peer's loopback ports into frames on the channel to the
node, and a SecretFlow process behind it. It never opens a connection outside 127.0.0.1, never writes outside its
private temporary folder, holds no key or credential, and is never imported by the rest of creditlab.
"""
