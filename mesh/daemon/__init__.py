"""meshd: puts the parts of a node together, starts, reloads and stops them."""
