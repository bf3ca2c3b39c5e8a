"""Configuration: its keys and defaults, the files and flags it comes from, and what is wrong."""
