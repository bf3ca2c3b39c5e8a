"""Fronts: processes that answer beside the main one what it lets them keep."""
