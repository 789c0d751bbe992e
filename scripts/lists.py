"""The registry's lists as the scripts need them: walked, and with the hints that a removal takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

ZERO_ADDRESS = "0x" + "00" * 20
PAGE_SIZE = 200


def walk(registry, provider_id: int, kind: int, page_size: int = PAGE_SIZE) -> Iterator[tuple[str, tuple]]:
    """Each node of a list with its state, head first, page by page, as of one block."""
    from brownie import chain

    block = chain.height  # of all pages, so that they fit together
    cursor = ZERO_ADDRESS
    while True:
        nodes, infos = registry.nodesOf(provider_id, kind, cursor, page_size, block_identifier=block)
        yield from zip(nodes, infos, strict=True)
        if len(nodes) < page_size:
            return
        cursor = nodes[-1]


def predecessors(order: Iterable[str], leaving: Iterable[str]) -> list[str]:
    """For each leaving node, the node before it in the list at the moment when it leaves; zero for the head.

    `order` is the list, head first. KeyError if a leaving node is not in it, or leaves twice.
    """
    listed = [ZERO_ADDRESS, *order, ZERO_ADDRESS]
    before = dict(zip(listed[1:-1], listed, strict=False))
    after = dict(zip(listed[1:-1], listed[2:], strict=True))  # noqa: RUF007 (the zeros at both ends are no nodes)
    hints = []
    for node in leaving:
        previous, following = before.pop(node), after.pop(node)
        hints.append(previous)
        if previous != ZERO_ADDRESS:
            after[previous] = following
        if following != ZERO_ADDRESS:
            before[following] = previous
    return hints
