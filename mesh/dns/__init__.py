"""The DNS edge: answers questions about nodes and services over UDP and TCP."""
