"""What a server adds: the replicated state machine, the duties of the leader, bootstrap."""
