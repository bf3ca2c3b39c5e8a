"""Minding: who is told that something heard of a node may change what is laid over answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

Changed = Callable[[], None]


class Minding:
    """Whom to call, by the nodes (in lower case) that their answers are about."""

    def __init__(self) -> None:
        self._by_node: dict[str, dict[object, Changed]] = {}

    def __len__(self) -> int:
        return len(self._by_node)

    def add(self, nodes: Collection[str], changed: Changed) -> Changed:
        """Call back when something is said of one of these; returns what ends that."""
        mark = object()
        for node in nodes:
            self._by_node.setdefault(node, {})[mark] = changed

        def end() -> None:
            for node in nodes:
                those = self._by_node.get(node)
                if those is not None and those.pop(mark, None) is not None and not those:
                    del self._by_node[node]

        return end

    def tell(self, nodes: Iterable[str] | None) -> None:
        """Something new is known of these nodes, or, with None, of any."""
        found: dict[object, Changed] = {}
        for node in list(self._by_node) if nodes is None else nodes:
            found |= self._by_node.get(node, {})
        for changed in found.values():
            changed()
