"""One seeded world for the parts of production: its clocks, network, disks, servers and clients."""
