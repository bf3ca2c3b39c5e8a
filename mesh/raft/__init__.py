"""Consensus: one durable, replicated log of opaque commands among a fixed set of voters."""
