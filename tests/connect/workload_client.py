"""A client of the SPIFFE Workload API as other programs have it, on grpcio and its own messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "SpiffeWorkloadAPI"
HEADER = (("workload.spiffe.io", "true"),)
SECONDS = 30.0
_FIELDS = {
    "X509SVID": ("spiffe_id", "x509_svid", "x509_svid_key", "bundle", "hint"),
    "X509SVIDResponse": ("svids", "crl", "federated_bundles"),
    "X509BundlesResponse": ("crl", "bundles"),
}
"""As workload.proto numbers them."""
_TEXTS = {"spiffe_id", "hint"}
_MAPS = {"federated_bundles", "bundles"}


def _messages() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="workload-of-tests.proto", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for number, field in enumerate(fields, 1):
            made = message.field.add(name=field, number=number, label=kinds.LABEL_OPTIONAL)
            made.type = kinds.TYPE_STRING if field in _TEXTS else kinds.TYPE_BYTES
            if field in {"svids", "crl", *_MAPS}:
                made.label = kinds.LABEL_REPEATED
            if field == "svids":
                made.type, made.type_name = kinds.TYPE_MESSAGE, ".X509SVID"
            elif field in _MAPS:
                entry = message.nested_type.add(name=f"{field.title().replace('_', '')}Entry")
                entry.options.map_entry = True
                for part, kind in (("key", kinds.TYPE_STRING), ("value", kinds.TYPE_BYTES)):
                    added = entry.field.add(name=part, number=len(entry.field) + 1, type=kind)
                    added.label = kinds.LABEL_OPTIONAL
                made.type, made.type_name = kinds.TYPE_MESSAGE, f".{name}.{entry.name}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindFileByName(file.name).message_types_by_name
    return {name: message_factory.GetMessageClass(found[name]) for name in _FIELDS}


MESSAGES = _messages()


def certificates(der: bytes) -> list[x509.Certificate]:
    """All that stand one behind the other. Each begins with 30 82 and its length."""
    found = []
    while der:
        size = 4 + int.from_bytes(der[2:4], "big")
        found.append(x509.load_der_x509_certificate(der[:size]))
        der = der[size:]
    return found


class Identity:
    """An X.509-SVID, with the roots that came along."""

    def __init__(self, message: Any) -> None:
        self.uri: str = message.spiffe_id
        self.chain = certificates(message.x509_svid)
        self.key = serialization.load_der_private_key(message.x509_svid_key, None)
        self.roots = certificates(message.bundle)

    @property
    def serial(self) -> int:
        return self.chain[0].serial_number

    def check(self) -> None:
        """The key is that of the leaf, and the chain leads to a root."""
        leaf = self.chain[0]
        assert self.key.public_key() == leaf.public_key()
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.UniformResourceIdentifier) == [self.uri]
        leaf.verify_directly_issued_by(self.chain[1])
        issuer = self.chain[1].issuer
        (root,) = (root for root in self.roots if root.subject == issuer)
        self.chain[1].verify_directly_issued_by(root)


class Program:
    """A program with an open channel to its socket."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def stream(self, method: str, answer: str, metadata: Any = HEADER) -> Iterator[Any]:
        kind = MESSAGES[answer].FromString if answer else None
        call = self._channel.unary_stream(f"/{SERVICE}/{method}", None, kind)
        found: Iterator[Any] = call(b"", metadata=metadata, timeout=SECONDS)
        return found

    def identities(self) -> Iterator[Identity]:
        """The one identity, now and whenever it is another."""
        for message in self.stream("FetchX509SVID", "X509SVIDResponse"):
            (svid,) = message.svids
            yield Identity(svid)

    def bundles(self) -> Iterator[dict[str, list[x509.Certificate]]]:
        """The roots by trust domain, now and whenever there are others."""
        for message in self.stream("FetchX509Bundles", "X509BundlesResponse"):
            bundles = message.bundles.items()
            yield {name: certificates(der) for name, der in bundles}

    def ask(self, method: str, metadata: Any = HEADER) -> bytes:
        """A call with one answer."""
        call = self._channel.unary_unary(f"/{SERVICE}/{method}", None, None)
        found: bytes = call(b"", metadata=metadata, timeout=SECONDS)
        return found


@contextmanager
def program(socket: Path) -> Iterator[Program]:
    """One that finds the API at this socket."""
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        yield Program(channel)
