"""Keyring files: the keys of a gossip pool in the data directory, as JSON like Consul's."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mesh.clock import secret_bytes
from mesh.codec import from_json, to_json
from mesh.config.schema import Config
from mesh.errors import Conflict, Invalid
from mesh.gossip.keytext import NONCE_BYTES, read_key, write_key

if TYPE_CHECKING:
    from mesh.gossip.keyring import Keyring

log = logging.getLogger(__name__)

LAN, WAN = "local.keyring", "remote.keyring"


def open_keyring(config: Config, folder: str, name: str = LAN) -> Keyring | None:
    """The keys of a pool; None when its gossip is not encrypted. `folder` is where files lie.

    A file that is there wins over option encrypt, which is only for the beginning: keys are changed
    while the pool runs, and the file remembers them. Raises Invalid or Conflict, naming the file,
    when it cannot be used.
    """
    given = [read_key(config.encrypt)] if config.encrypt else []
    if config.disable_keyring_file or not config.data_dir:
        return _ring(given) if given else None
    path = Path(folder, name)
    keys = _read(path)
    if keys:
        if given and given[0] not in keys:
            log.warning(
                "option encrypt names a key that is not in %s, which is what counts once it is "
                "there: remove the file to begin with that key",
                path,
            )
        else:
            log.info("gossip is encrypted with the keys in %s", path)
        return _ring(keys, lambda changed: _write(path, changed))
    if not given:
        return None
    _write(path, given)
    log.info("gossip is encrypted with the key of option encrypt, from now on kept in %s", path)
    return _ring(given, lambda changed: _write(path, changed))


def _ring(
    keys: Sequence[bytes], changed: Callable[[Sequence[bytes]], None] = lambda _: None
) -> Keyring:
    # Loaded only here: the library takes long, and a node without keys needs none of it.
    keyring = importlib.import_module("mesh.gossip.keyring")
    made: Keyring = keyring.Keyring(keys, _nonce, changed)
    return made


def _nonce() -> bytes:
    return secret_bytes(NONCE_BYTES)


def _read(path: Path) -> list[bytes]:
    try:
        texts = from_json(path.read_bytes(), list[str])
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Conflict(f"{path}: cannot be read: {error.strerror}") from error
    except Invalid as error:
        raise Invalid(f"{path}: damaged ({error}); {_FIX}") from error
    if not texts:
        raise Invalid(f"{path}: holds no key; {_FIX}")
    keys = []
    for number, text in enumerate(texts, 1):
        try:
            keys.append(read_key(text))
        except Invalid as error:
            raise Invalid(f"{path}: key {number}: {error}; {_FIX}") from error
    return keys


_FIX = "write the keys of another node there, or remove the file to begin with option encrypt"


def _write(path: Path, keys: Sequence[bytes]) -> None:
    """Write the file anew, whole or not at all. Raises Conflict."""
    fresh = path.with_name(f"{path.name}.new")
    body = to_json([write_key(key) for key in keys], indent=2) + b"\n"
    try:
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Conflict(f"{path}: cannot be written: {error.strerror}") from error
