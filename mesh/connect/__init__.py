"""The service mesh: certificates, for now those of the nodes."""
