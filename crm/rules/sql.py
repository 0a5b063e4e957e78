"""SQL text with its parameters: the text is ours alone, whatever a user wrote is a parameter."""

from collections.abc import Iterable
from typing import Any, NamedTuple


class Sql(NamedTuple):
    """A piece of a statement. `text` has one %s for each of `params`."""

    text: str
    params: tuple[Any, ...] = ()


def sql(template: str, *args: Any) -> Sql:
    """Fill each {} of a constant template: with a piece of SQL, or with a parameter for any other value."""
    parts: list[str] = []
    params: list[Any] = []
    for arg in args:
        if isinstance(arg, Sql):
            parts.append(arg.text)
            params.extend(arg.params)
        else:
            parts.append("%s")
            params.append(arg)
    return Sql(template.format(*parts), tuple(params))


def joined(separator: str, pieces: Iterable[Sql]) -> Sql:
    """The pieces, each in parentheses, with a constant separator between them."""
    pieces = list(pieces)
    return Sql(
        separator.join(f"({piece.text})" for piece in pieces),
        tuple(param for piece in pieces for param in piece.params),
    )


TRUE, FALSE = Sql("true"), Sql("false")
