"""Membership: SWIM with Lifeguard and the Serf layer on it, in their wire format."""
