"""How requests travel: frames, connections, the gate and the routes to whoever does the work."""
