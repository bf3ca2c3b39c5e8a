"""meshctl: the command line, and the demo."""
