"""The relay: the only way between two nodes. gRPC over mutual TLS 1.3, dialled by the bank, one connection both ways.

It carries the engines' frames unread, meters every byte, names the peer from its certificate, and ends with a cause.
"""
