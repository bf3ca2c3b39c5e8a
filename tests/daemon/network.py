"""Loopback addresses that belong to this test process alone."""

import os


def network(last: int) -> str:
    """An address on a network that no other test process uses."""
    number = os.getpid()
    return f"127.{64 + number % 128}.{number // 128 % 250}.{last}"
