"""What a node does for itself: its services and checks, and telling the catalog about them."""
