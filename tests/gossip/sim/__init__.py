"""A simulator of pools: production cores in virtual time, from a handful of nodes to thousands."""
