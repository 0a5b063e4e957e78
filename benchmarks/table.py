"""The one table all benchmarks print."""

from typing import TypedDict


class Differs(Exception):
    """What was measured is not what it must be; the message is the table that shows it."""


class Row(TypedDict):
    """One figure beside a peer's or the limit's. `ratio` is ours to the peer's."""

    workload: str
    ours: float
    unit: str
    peer_name: str
    peer: float
    ratio: float


def row(workload: str, ours: float, unit: str, peer_name: str, peer: float) -> Row:
    """A row with its ratio."""
    return Row(workload=workload, ours=ours, unit=unit, peer_name=peer_name, peer=peer, ratio=ours / peer)


def show(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| workload | ours | unit | beside | theirs | ratio |",
        "| --- | ---: | --- | --- | ---: | ---: |",
    ]
    for item in rows:
        lines.append(
            f"| {item['workload']} | {item['ours']:,.0f} | {item['unit']} | {item['peer_name']} "
            f"| {item['peer']:,.0f} | {item['ratio']:.2f} |"
        )
    return "\n".join(lines)
