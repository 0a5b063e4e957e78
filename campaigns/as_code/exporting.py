"""Writing bundles."""

from collections.abc import Collection

from campaigns.as_code import stored, text
from campaigns.as_code.documents import SECTIONS, VERSION


def write(flows: Collection[str] | None = None, with_references: bool = True) -> str:
    """Flows as YAML, with the segments, messages, coupon pools, topics and other flows that they lead to.

    The same flows give the same text, byte by byte, whenever and wherever it is written.

    Args:
        flows: short names; None: all there are.
        with_references: whether to write what the flows refer to, too.

    Raises:
        LookupError: there is no such flow; it names which.
    """
    wanted = set(stored.MODELS["flows"].objects.values_list("slug", flat=True) if flows is None else flows)
    return dump(collect({"flows": wanted}, with_references))


def collect(wanted: dict[str, set[str]], with_references: bool = True) -> dict[str, stored.Section]:
    """The sections with what is wanted by short name and, unless told otherwise, what that leads to.

    Raises:
        LookupError: what is wanted is not there. What it refers to may be missing.
    """
    found: dict[str, stored.Section] = {name: {} for name in SECTIONS}
    asked: dict[str, set[str]] = {name: set() for name in SECTIONS}
    first, waiting = True, wanted
    while any(waiting.values()):
        named: dict[str, set[str]] = {name: set() for name in SECTIONS}
        for name, slugs in waiting.items():
            asked[name] |= slugs
            rows = stored.section(name, slugs)
            if first and (missing := slugs - rows.keys()):
                raise LookupError(", ".join(sorted(missing)))
            found[name] |= rows
            for row in rows.values():
                for other, more in stored.references(name, row).items():
                    named[other] |= more
        first = False
        if not with_references:
            break
        waiting = {name: slugs - asked[name] for name, slugs in named.items()}
    return found


def dump(sections: dict[str, stored.Section]) -> str:
    """The text of a bundle; sections and short names in their order, empty sections left out."""
    whole: dict[str, object] = {"version": VERSION}
    for name in SECTIONS:
        if sections.get(name):
            whole[name] = {slug: sections[name][slug] for slug in sorted(sections[name])}
    return text.dump(whole)
