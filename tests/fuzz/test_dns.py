"""DNS is sent what it should not be: two minutes in all, spread over what a client can do.

`./dev fuzz dns` goes on for longer, guided by coverage.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.clock import SeededDice, SystemClock
from mesh.dns.server import DnsServer, Options
from mesh.registry.catalog import Node, Register, Service
from tests.dns.memory import MemoryRegistry
from tests.fuzz import dns, questions
from tests.fuzz.alone import fuzz

SECONDS = 30.0
"""For each of four."""
LOCAL = (("127.0.0.1", 0),)
BATCH = 40
ADDRESS = bytes((10, 0, 0, 1))


@pytest.mark.parametrize("name", dns.TARGETS)
@given(data=st.binary(max_size=600))
@settings(deadline=None)
def test_any_bytes_do_no_harm(name: str, data: bytes) -> None:
    dns.TARGETS[name](data)


@given(st.sampled_from(dns.SEEDS), st.data())
@settings(deadline=None, max_examples=500)
def test_changed_bytes_do_no_harm(seed: bytes, data: st.DataObject) -> None:
    changed = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 5))):
        changed[data.draw(st.integers(1, len(seed) - 1))] = data.draw(st.integers(0, 255))
    dns.one_input(bytes(changed)[: data.draw(st.integers(len(seed) - 4, len(seed)))])


@pytest.mark.parametrize("seed", dns.SEEDS, ids=range(len(dns.SEEDS)))
def test_good_bytes_are_taken(seed: bytes) -> None:
    dns.one_input(seed)


def made(begin: int) -> Iterator[bytes]:
    """Questions with something wrong in them, without end."""
    dice = random.Random(begin)
    while True:
        yield questions.changed(dice.choice(dns.QUESTIONS), dice.getrandbits(64))


def test_all_that_can_be_wrong_is_tried() -> None:
    found: Counter[str] = Counter()
    for data, _ in zip(made(1), range(5000), strict=False):
        found.update(questions.faults(data))
    assert found.keys() == questions.FAULTS
    assert min(found.values()) >= 20, found


def until() -> Iterator[int]:
    """Counts up while there is time."""
    end, number = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        yield number
        number += 1


def _fuzzed(folder: Path, seed: int) -> None:
    length, place = ("--seconds", f"{SECONDS:.0f}"), ("--corpus", str(folder / "corpus"))
    fuzz("dns", *length, "--seed", str(seed), *place, seconds=SECONDS + 100)


# Functions of their own, so that processes which run tests side by side may share them.
needs_atheris = pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not here")


@needs_atheris
def test_the_fuzzer_finds_nothing(tmp_path: Path) -> None:
    _fuzzed(tmp_path, 1)


@needs_atheris
def test_the_fuzzer_finds_nothing_beginning_otherwise(tmp_path: Path) -> None:
    _fuzzed(tmp_path, 2)


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    registry = MemoryRegistry()
    for number in range(12):
        node = Node(name=f"n{number}", address=f"10.0.0.{number}", datacenter="dc1")
        registry.apply(Register(node, Service(node="", id="", name="web", tags=["v1"])))
    one = DnsServer(registry, Options(addresses=LOCAL), SystemClock(), SeededDice(1))
    await one.start()
    yield one
    assert one._tasks.failures == 0
    await one.stop()


def answerable(data: bytes) -> bool:
    """Whether anything may be said to it."""
    return len(data) >= questions.HEADER and not data[2] & 0x80


async def test_any_datagrams_do_no_harm(server: DnsServer) -> None:
    """Whatever may be answered is, once and within its limits; and nothing else."""
    loop, bad = asyncio.get_running_loop(), made(3)
    waiting: dict[bytes, bytes] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        client.connect(server.addresses[0])

        async def hear() -> bytes:
            answer = await asyncio.wait_for(loop.sock_recv(client, 65_535), 10)
            dns.fitting(waiting.pop(answer[:2]), answer, tcp=False)
            return answer

        for turn in until():
            for number in range(BATCH):
                data = (turn * BATCH % 0xF000 + number).to_bytes(2) + next(bad)[2:]
                client.send(data)
                if answerable(data):
                    waiting[data[:2]] = data
            last = (0xF800 + turn % 256).to_bytes(2)
            waiting[last] = last + dns.KNOWN[2:]
            client.send(waiting[last])
            while (answer := await hear())[:2] != last:
                pass
            assert answer[-4:] == ADDRESS
        while waiting:
            await hear()
    assert turn > 10


async def test_any_streams_do_no_harm(server: DnsServer) -> None:
    """As with datagrams; what may not be answered ends the connection, which others outlive."""
    bad, dice = made(4), random.Random(5)
    for _ in until():
        reader, writer = await asyncio.open_connection(*server.addresses[0])
        sent = [number.to_bytes(2) + next(bad)[2:] for number in range(dice.randrange(BATCH))]
        whole = b"".join(len(data).to_bytes(2) + data for data in sent)
        if dice.randrange(2):
            whole += dice.choice((b"\0", b"\xff\xff", b"\0\x0d" + bytes(12)))  # It lies.
        cut = dice.randrange(len(whole) + 1)
        writer.write(whole[:cut])
        await asyncio.sleep(0)
        writer.write(whole[cut:])
        writer.write_eof()
        ends = next((at for at, data in enumerate(sent) if not answerable(data)), len(sent))
        # Those behind the last one may be answered too before it ends, but need not.
        waiting = {data[:2]: data for data in sent if answerable(data)}
        for answer in _frames(await asyncio.wait_for(reader.read(), 10)):
            dns.fitting(waiting.pop(answer[:2]), answer, tcp=True)
        assert ends < len(sent) or not waiting
        writer.close()
        reader, writer = await asyncio.open_connection(*server.addresses[0])
        writer.write(len(dns.KNOWN).to_bytes(2) + dns.KNOWN)
        size = int.from_bytes(await reader.readexactly(2))
        assert (await reader.readexactly(size))[-4:] == ADDRESS
        writer.close()


def _frames(data: bytes) -> Iterator[bytes]:
    while data:
        size = int.from_bytes(data[:2])
        assert len(data) >= 2 + size
        yield data[2 : 2 + size]
        data = data[2 + size :]
