"""The codec of gossip: what packing, reading, sealing and compressing cost, against the goals."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NamedTuple

import msgpack

from mesh.gossip import lzw, packets
from mesh.gossip.keyring import Keyring
from mesh.gossip.messages import VERSIONS, Ack, Alive, Ping, decode, encode, encode_tags
from mesh.gossip.sealing import Sealing
from mesh.gossip.streams import ALIVE, NodeState, PushPull, StreamReader, encode_push_pull

GOAL_MICROSECONDS = 6.0
MEMBERS = 5000
REPEATS = 7
TAGS = {"role": "node", "dc": "dc1", "id": "3f0f4a6e-6c1a-4a5e-9d0f-0123456789ab", "build": "1.0"}


class Figure(NamedTuple):
    """One measurement, and what it should not exceed, in microseconds."""

    name: str
    microseconds: float
    goal: float = 0.0


def cost(work: Callable[[], object]) -> float:
    """Microseconds of one call: the best of some runs, since others use the machine too."""
    started = time.perf_counter()
    work()
    once = time.perf_counter() - started
    count = max(1, int(0.02 / max(once, 1e-7)))
    best = once
    for _ in range(REPEATS):
        started = time.perf_counter()
        for _ in range(count):
            work()
        best = min(best, (time.perf_counter() - started) / count)
    return best * 1e6


def messages() -> list[Figure]:
    """Single messages and a full packet, plain."""
    here = bytes((10, 0, 0, 1))
    ping = Ping(300, "node-1.example", here, 8301, "node-2.example")
    packed = encode(ping)
    ack = Ack(300, bytes(130))
    answer = encode(ack)
    alives = [Alive(3, f"node-{n}.example", here, 8301, encode_tags(TAGS)) for n in range(8)]
    full = packets.join([packed, *map(encode, alives)], crc=False)
    bare = msgpack.unpackb(packed[1:], raw=True)
    return [
        Figure("ping, packed", cost(lambda: encode(ping)), GOAL_MICROSECONDS),
        Figure("ping, read", cost(lambda: decode(packed)), GOAL_MICROSECONDS),
        Figure("  its map, packed by msgpack", cost(lambda: msgpack.packb(bare))),
        Figure("  its map, read by msgpack", cost(lambda: msgpack.unpackb(packed[1:], raw=True))),
        Figure("ack with a coordinate, packed", cost(lambda: encode(ack))),
        Figure("ack with a coordinate, read", cost(lambda: decode(answer))),
        Figure(
            f"ping and 8 alives ({len(full)} B), packed",
            cost(lambda: packets.join([encode(ping), *map(encode, alives)], crc=False)),
        ),
        Figure(f"ping and 8 alives ({len(full)} B), read", cost(lambda: packets.split(full))),
    ]


def encryption() -> list[Figure]:
    """What a key adds to a packet."""
    pool = Sealing("dc1", Keyring([os.urandom(32)], lambda: os.urandom(12)))
    found = []
    for name, size in (("a ping", 80), ("a full packet", 1360)):
        packet = os.urandom(size)
        sealed = pool.seal_packet(packet)
        seal = cost(lambda packet=packet: pool.seal_packet(packet))  # type: ignore[misc]
        unseal = cost(lambda sealed=sealed: pool.open_packet(sealed))  # type: ignore[misc]
        found.append(Figure(f"AES-256-GCM of {name}, sealed", seal, GOAL_MICROSECONDS))
        found.append(Figure(f"AES-256-GCM of {name}, opened", unseal, GOAL_MICROSECONDS))
    return found


def state() -> list[Figure]:
    """A push/pull of many members, and LZW."""
    meta = encode_tags(TAGS)
    nodes = [
        NodeState(
            f"node-{number}.example",
            bytes((10, 0, number >> 8, number & 255)),
            8301,
            number % 50 + 1,
            ALIVE,
            meta[:-8] + os.urandom(4).hex().encode(),
            VERSIONS,
        )
        for number in range(MEMBERS)
    ]
    whole = PushPull(nodes, b"")
    body = encode_push_pull(whole)
    small = lzw.compress(body)
    packet = body[:1400]
    packed = lzw.compress(packet)
    return [
        Figure(f"full packet, LZW to {len(packed)} B", cost(lambda: lzw.compress(packet))),
        Figure("full packet, LZW back", cost(lambda: lzw.decompress(packed, 1400))),
        Figure(f"state of {MEMBERS} ({len(body):,} B)", cost(lambda: encode_push_pull(whole))),
        Figure(f"state of {MEMBERS}, read", cost(lambda: StreamReader().feed(body))),
        Figure(f"state of {MEMBERS}, LZW to {len(small):,} B", cost(lambda: lzw.compress(body))),
        Figure(f"state of {MEMBERS}, LZW back", cost(lambda: lzw.decompress(small, len(body)))),
    ]


def run() -> bool:
    """Print every figure; whether all goals are met."""
    met = True
    print(f"{'codec':<48} {'us':>12} {'goal':>6} {'of it':>6}")
    for part in (messages, encryption, state):
        for figure in part():
            goal = ""
            if figure.goal:
                goal = f"{figure.goal:>6.1f} {figure.microseconds / figure.goal:>6.2f}"
            print(f"{figure.name:<48} {figure.microseconds:>12,.2f} {goal}", flush=True)
            met = met and not 0 < figure.goal < figure.microseconds
    return met
