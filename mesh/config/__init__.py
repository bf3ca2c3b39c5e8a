"""Configuration: files and flags in, one checked `Config` or every error at once out."""
