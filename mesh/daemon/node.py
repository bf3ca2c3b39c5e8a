"""A node: every part built from the configuration, started and stopped in order."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)
