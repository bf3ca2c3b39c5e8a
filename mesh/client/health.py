"""Calls about health: the instances of a service with their checks, and checks by themselves."""

from __future__ import annotations

from collections.abc import Iterable

from mesh.client.call import Answer, Call, ReadOptions, path_of, reading
from mesh.client.shapes import Check, Instance

LATEST = ReadOptions()


def service(
    name: str,
    *,
    passing: bool = False,
    tags: Iterable[str] = (),
    options: ReadOptions = LATEST,
) -> Call[Answer[list[Instance]]]:
    """The instances of a service; with passing only those whose checks all pass."""
    params = [("tag", tag) for tag in tags]
    if passing:
        params.append(("passing", ""))
    return reading(path_of("health/service", name), list[Instance], options, params)


def node(name: str, options: ReadOptions = LATEST) -> Call[Answer[list[Check]]]:
    """Every check on a node, of its services too."""
    return reading(path_of("health/node", name), list[Check], options)


def checks(name: str, options: ReadOptions = LATEST) -> Call[Answer[list[Check]]]:
    """The checks of a service's instances, without those of their nodes."""
    return reading(path_of("health/checks", name), list[Check], options)


def state(status: str = "any", options: ReadOptions = LATEST) -> Call[Answer[list[Check]]]:
    """Every check that is `passing`, `warning`, `critical`, or `any`."""
    return reading(path_of("health/state", status), list[Check], options)
