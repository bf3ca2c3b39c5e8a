"""/v1/kv: read, write and delete keys."""

from __future__ import annotations

from mesh.errors import Invalid
from mesh.http import params, respond, shapes
from mesh.http.request import TEXT, Reply, Request
from mesh.http.route import CAS, READ, Param, Route
from mesh.registry import kv
from mesh.registry.port import Command

# Raw values are whatever a client stored: nothing a browser may run.
_RAW = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
_CONDITIONS = ("cas", "acquire", "release")


async def get(request: Request) -> Reply:
    """One pair, the pairs or the keys under a prefix, or the raw value."""
    options = params.read_options(request)
    if "keys" in request.params:
        return await _keys(request)
    if "recurse" in request.params:
        found = await request.read(kv.Under(request.rest), options)
        if not found.value:
            return Reply(status=404, headers=respond.read_headers(found))
        return await respond.listed(request, found, found.value, shapes.pair)
    if not request.rest:
        raise Invalid("Missing key name")
    one = await request.read(kv.Get(request.rest), options)
    headers = respond.read_headers(one)
    if one.value is None:
        return Reply(status=404, headers=headers)
    if "raw" in request.params:
        return Reply(one.value.value, content_type=TEXT, headers=headers | _RAW)
    return respond.answered(one, [shapes.pair(one.value)])


async def _keys(request: Request) -> Reply:
    options = params.read_options(request)
    separator = request.param("separator") or request.param("seperator")
    found = await request.read(kv.Keys(request.rest, separator), options)
    if not found.value and request.rest:
        return Reply(status=404, headers=respond.read_headers(found))
    return respond.answered(found, found.value)


async def put(request: Request) -> Reply:
    """Write the body as the value; `false` when the condition does not hold."""
    key = _key(request)
    if (command := _plain(request)) is not None:
        return await _write(request, command)
    given = [name for name in _CONDITIONS if name in request.params]
    if len(given) > 1:
        raise Invalid(f"Conflicting flags: {' and '.join(given)}; give only one")
    try:
        flags, cas = _number(request, "flags") or 0, _cas(request)
    except Invalid as error:
        return respond.text(500, error.message)
    if "acquire" in given:
        return await _write(request, kv.Acquire(key, request.body, _session(request), flags))
    if "release" in given:
        return await _write(request, kv.Release(key, request.body, _session(request), flags))
    return await _write(request, kv.Set(key, request.body, flags, cas))


def _plain(request: Request) -> kv.Set | None:
    """What to write without conditions, as most requests want it; None for the others."""
    if request.params or not request.rest:
        return None
    return kv.Set(request.rest, request.body)


async def delete(request: Request) -> Reply:
    """Delete a key, or with `recurse` every key that starts with it."""
    if "recurse" in request.params:
        if "cas" in request.params:
            raise Invalid("Conflicting flags: recurse and cas; give only one")
        return await _write(request, kv.DeleteUnder(request.rest))
    key = _key(request)
    try:
        command = kv.Delete(key, _cas(request))
    except Invalid as error:
        return respond.text(500, error.message)
    return await _write(request, command)


async def _write(request: Request, command: Command[bool]) -> Reply:
    written = await request.parts.registry.write(command, params.write_options(request))
    return respond.boolean(written)


def _session(request: Request) -> str:
    return (request.param("acquire") or request.param("release")).lower()


def _key(request: Request) -> str:
    if not request.rest:
        raise Invalid("Missing key name")
    return request.rest


def _cas(request: Request) -> int | None:
    return _number(request, "cas")


def _number(request: Request, name: str) -> int | None:
    if name not in request.params:
        return None
    return params.whole(request.param(name), name)


_WRITTEN = "The number of a parameter makes no sense, or the write was refused"

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/kv/:key",
        get,
        "Read a key, or what is under a prefix",
        kept=True,
        params=(
            *READ,
            Param("recurse", "All pairs whose key begins with this", "present"),
            Param("keys", "Only the keys that begin with this", "present"),
            Param("separator", "With `keys`: up to and with the first of these after the prefix"),
            Param("seperator", "The same, misspelt as clients do"),
            Param("raw", "The value itself, of one key", "present"),
        ),
        answer=list[shapes.PairShape | str],
        statuses=((404, "No such key, or none under the prefix; the body is empty"),),
        media=(TEXT,),
    ),
    Route(
        "PUT",
        "/v1/kv/:key",
        put,
        "Write a key, lock it or give its lock back",
        limit="kv_value_max_bytes",
        writes=_plain,
        params=(
            Param("flags", "Any number to keep with the value", "integer"),
            CAS,
            Param("acquire", "Lock the key for this session; `false` when it cannot be now"),
            Param("release", "Give the lock of this session back; `false` if it has none"),
        ),
        body=bytes,
        answer=bool,
        statuses=((500, f"{_WRITTEN}, as for a session that does not exist"),),
    ),
    Route(
        "DELETE",
        "/v1/kv/:key",
        delete,
        "Delete a key, or what is under a prefix",
        params=(CAS, Param("recurse", "Every key that begins with this", "present")),
        answer=bool,
        statuses=((500, _WRITTEN),),
    ),
)
