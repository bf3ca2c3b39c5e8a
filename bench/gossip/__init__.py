"""`./dev bench gossip`: what membership costs, part by part."""
