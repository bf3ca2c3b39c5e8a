"""The web UI: its pages as they were built, and what they ask beside the API."""
