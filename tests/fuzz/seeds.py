"""Good bytes to begin with: what Go's code wrote."""

from tests.fuzz import gossip
from tests.gossip.serf.test_t24_golden_vectors import MESSAGES, RELAY, RESPONSE, SERF

SEEDS = gossip.seeds(
    [message for _, message in MESSAGES.values()],
    {
        "event": bytes.fromhex(SERF["event"][0]),
        "query": bytes.fromhex(SERF["query"][0]),
        "response": bytes.fromhex(SERF["response"][0]),
        "relay": bytes.fromhex(RELAY + RESPONSE),
        "key request": bytes.fromhex(SERF["key request"][0]),
        "key response": bytes.fromhex(SERF["key response"][0]),
        "coordinate": bytes.fromhex(SERF["coordinate"][0]),
    },
)
