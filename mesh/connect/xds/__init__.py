"""Envoy's configuration: from what a proxy needs to know, to the bytes on its stream."""
