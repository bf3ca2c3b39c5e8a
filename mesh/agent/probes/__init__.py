"""Probes: one run of a check, a module for each family. They raise nothing: failing is a result."""
