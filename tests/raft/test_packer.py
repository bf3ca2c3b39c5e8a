"""The packer: a real thread, real files and machines that misbehave."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from mesh.errors import Invalid
from mesh.raft.packer import Abandoned, Packer, Refused, unhurried
from mesh.raft.snapshots import Incoming, Reader, Snapshots
from tests.raft.server import Memory, Remembered


def transfer(source: Snapshots, target: Snapshots) -> Incoming:
    assert source.latest is not None
    reader = Reader(source.latest)
    incoming = target.incoming(reader.index, reader.term, reader.size)
    incoming.add(reader.read(0, reader.size))
    incoming.close()
    reader.close()
    return incoming


def packer(folder: Path, machine: Memory) -> tuple[Snapshots, Packer]:
    folder.mkdir(exist_ok=True)
    snapshots = Snapshots(str(folder))
    return snapshots, Packer(snapshots, machine)


def test_a_state_travels_from_machine_to_machine(tmp_path: Path) -> None:
    machine, other = Memory(), Memory()
    machine.commands, other.commands = [b"a", b"b"], [b"old"]
    source, packing = packer(tmp_path / "a", machine)
    saving = packing.save(7, 2)
    machine.commands.append(b"c")  # After the copy.
    assert saving.result().index == 7
    target, receiving = packer(tmp_path / "b", other)
    stored, prepared = receiving.receive(transfer(source, target)).result()
    assert (stored.index, target.latest) == (7, stored)
    assert other.commands == [b"old"]
    prepared.install()
    assert other.commands == [b"a", b"b"]
    receiving.discard(prepared).result()
    assert other.commands == [b"a", b"b"]
    packing.stop()
    receiving.stop()


class Unreadable(Memory):
    def prepare(self, index: int, pieces: Iterator[bytes]) -> Remembered:
        raise Invalid("from the future")


def test_a_snapshot_the_machine_cannot_read_replaces_nothing(tmp_path: Path) -> None:
    source, packing = packer(tmp_path / "a", Memory())
    packing.save(7, 2).result()
    target, receiving = packer(tmp_path / "b", Unreadable())
    own = receiving.save(3, 1).result()
    with pytest.raises(Refused, match="future"):
        receiving.receive(transfer(source, target)).result()
    assert Snapshots(str(tmp_path / "b")).open() == target.latest == own
    packing.stop()
    receiving.stop()


def test_a_damaged_transfer_is_invalid_and_replaces_nothing(tmp_path: Path) -> None:
    source, packing = packer(tmp_path / "a", Memory())
    packing.save(7, 2).result()
    target, receiving = packer(tmp_path / "b", Memory())
    incoming = transfer(source, target)
    data = bytearray(incoming.path.read_bytes())
    data[-1] ^= 1
    incoming.path.write_bytes(data)
    with pytest.raises(Invalid, match="checksum"):
        receiving.receive(incoming).result()
    assert target.latest is None
    packing.stop()
    receiving.stop()


class Endless(Memory):
    """Its snapshot never ends."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()

    def snapshot(self) -> Iterator[bytes]:
        while True:
            self.begun.set()
            yield b"more"


def test_stop_gives_up_what_is_not_finished(tmp_path: Path) -> None:
    machine = Endless()
    snapshots, packing = packer(tmp_path, machine)
    saving = packing.save(7, 2)
    assert machine.begun.wait(60)
    packing.stop()
    assert isinstance(saving.exception(), Abandoned)
    assert snapshots.latest is None


async def test_the_loop_runs_while_the_thread_computes() -> None:
    """What is asserted is a share of turns, not a time: with rests the loop gets most of them."""

    def spin() -> Iterator[None]:
        while not done.is_set():
            end = time.thread_time() + 0.0005
            while time.thread_time() < end:
                pass
            yield

    done = threading.Event()
    work: Future[None] = Future()

    def compute() -> None:
        for _ in unhurried(spin()):
            pass
        work.set_result(None)

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        began = time.thread_time()
        while time.thread_time() - began < 0.2:  # Reached only if the loop gets to run.
            await asyncio.sleep(0)
    finally:
        done.set()
        thread.join(10)
    assert work.done()
