"""What mesh says of itself: logs, metrics, traces."""
