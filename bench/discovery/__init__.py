"""`./dev bench discovery`: reads of DNS and HTTP as a share of what the machine can do at all."""
