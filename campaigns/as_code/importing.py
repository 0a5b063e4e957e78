"""Taking bundles: what they would change, what is wrong with them, and making it so, all or nothing.

What is wrong is found by making it so in a transaction that is taken back: only then is everything there that the
parts of a bundle refer to.
"""

import difflib
import re
from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from django.db import transaction

from campaigns.as_code import canonical, stored, text, writing
from campaigns.as_code.documents import SECTIONS, Bundle, Parts, keys, parts
from campaigns.as_code.problems import BundleError, Path, Problem
from campaigns.flows import definition as definitions
from campaigns.flows import publish as publishing
from campaigns.flows.approval import ApprovalError
from campaigns.flows.steps.start_flow import loops
from campaigns.models import Flow


class Change(msgspec.Struct):
    """What a bundle means for one flow, segment, message, pool or topic. `diff` is a unified diff of its YAML."""

    section: str
    slug: str
    name: str
    state: Literal["created", "changed", "unchanged"]
    diff: list[str] = []


class Applied(msgspec.Struct):
    """What was done: the changes, and the short names of the flows that were published."""

    changes: list[Change]
    published: list[str] = []


def plan(bundle: Bundle) -> list[Change]:
    """What would be made or changed, in the order of the bundle's sections; nothing is written.

    Raises:
        BundleError: something does not have its shape.
    """
    return [change for change, _new in _changes(wanted(parts(bundle)))]


def check(bundle: Bundle) -> list[Problem]:
    """Everything that is wrong, by line; those that are not `blocking` only keep a flow from being published."""
    try:
        known = parts(bundle)
    except BundleError as error:
        return in_order(error.problems)
    with transaction.atomic():
        try:
            _write(bundle, known, "check")
            found = _unpublishable(bundle, known)
        except BundleError as error:
            found = error.problems
        transaction.set_rollback(True)
    return in_order(found)


def apply(bundle: Bundle, by: Any = None, publish: bool = False) -> Applied:
    """Make what is missing and change what differs, in one transaction; flows become drafts.

    What the bundle does not name stays as it is, and nobody inside a flow is touched.

    Args:
        by: whose doing it is: a request, a user, an API key, or the name of a command.
        publish: whether to publish the bundle's flows, too; people inside finish the version they entered.

    Raises:
        BundleError: something is wrong; nothing was changed.
    """
    known = parts(bundle)
    with transaction.atomic():
        changes = _write(bundle, known, by)
        published = _publish(bundle, known, by) if publish else []
    return Applied(changes, published)


def wanted(known: Parts) -> dict[str, stored.Section]:
    """The sections of a bundle in the one way to write them down."""
    found: dict[str, stored.Section] = {name: {} for name in SECTIONS}
    for name in SECTIONS:
        for slug, part in known.section(name).items():
            found[name][slug] = _canonical(name, part)
    return found


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """As they stand in the text."""
    return sorted(problems, key=lambda each: (each.position or (0, 0), each.blocking is False))


def _canonical(name: str, part: Any) -> dict[str, Any]:
    if name == "flows":
        head = {"name": part.name} | ({"description": part.description} if part.description else {})
        return head | canonical.draft(part)
    if name == "messages":
        return canonical.message(part)
    return canonical.coupons(part) if name == "coupons" else canonical.plain(part)


def _changes(sections: dict[str, stored.Section]) -> list[tuple[Change, dict[str, Any]]]:
    found = []
    for name in SECTIONS:
        before = stored.section(name, list(sections[name])) if sections[name] else {}
        for slug, new in sections[name].items():
            old = before.get(slug)
            # As text: to Python, 1 and true are equal.
            if old is not None and msgspec.json.encode(old) == msgspec.json.encode(new):
                change = Change(name, slug, new["name"], "unchanged")
            else:
                change = Change(name, slug, new["name"], "changed" if old else "created", _diff(old, new))
            found.append((change, new))
    return found


def _diff(old: Any, new: Any) -> list[str]:
    before = text.dump(old).splitlines() if old is not None else []
    return list(difflib.unified_diff(before, text.dump(new).splitlines(), lineterm="", n=2))[2:]


def _write(bundle: Bundle, known: Parts, by: Any) -> list[Change]:
    found = _changes(wanted(known))
    problems: list[Problem] = []
    for change, new in writing.in_order(found):
        if change.state != "unchanged":
            try:
                with transaction.atomic():
                    writing.write(change.section, change.slug, new, by)
            except writing.Refused as error:
                here: Path = (change.section, change.slug)
                problems += [
                    bundle.problem(here + keys(path, bundle.data[change.section][change.slug]), sentence)
                    for path, sentence in error.problems
                ]
    if problems:
        raise BundleError(in_order(problems))
    return [change for change, _new in found]


def _unpublishable(bundle: Bundle, known: Parts) -> list[Problem]:
    """What keeps the bundle's flows from being published, once everything is stored."""
    found = []
    for slug, draft in Flow.objects.filter(slug__in=list(known.flows)).values_list("slug", "draft"):
        definition = definitions.parse(draft)
        for path, sentence in definitions.check(definition) + loops(slug, definition):
            found.append(bundle.problem(_in_flow(bundle, slug, path), sentence, blocking=False))
    return found


def _publish(bundle: Bundle, known: Parts, by: Any) -> list[str]:
    published, problems = [], []
    for flow in Flow.objects.filter(slug__in=list(known.flows)).order_by("slug"):
        if flow.state == Flow.State.LIVE and not publishing.has_unpublished_changes(flow):
            continue
        try:
            publishing.publish(flow.pk, by)
            published.append(flow.slug)
        except definitions.DefinitionError as error:
            problems += [
                bundle.problem(_in_flow(bundle, flow.slug, path), sentence)
                for path, sentence in error.problems
            ]
        except (ApprovalError, publishing.StateError) as error:
            problems.append(bundle.problem(("flows", flow.slug), str(error)))
    if problems:
        raise BundleError(in_order(problems))
    return published


def _in_flow(bundle: Bundle, slug: str, path: str) -> Path:
    """The place in the bundle of a problem of a flow, whose path begins with the key of a step or a setting."""
    here: Path = ("flows", slug)
    flow = bundle.data["flows"][slug]
    for key, place, step in _steps(flow.get("steps") or [], ("steps",)):
        if path == key or re.match(rf"{re.escape(key)}[.\[]", path):
            rest = path[len(key) :].lstrip(".")
            within = keys(rest, step)
            config = keys(rest, step.get("config"))
            return (
                here
                + place
                + (within if len(within) > len(config) else ("config", *config) if config else within)
            )
    return here + keys(path, flow)


def _steps(sequence: list[Any], path: Path) -> Iterable[tuple[str, Path, dict[str, Any]]]:
    for place, step in enumerate(sequence):
        here = (*path, place)
        yield step["key"], here, step
        for number, branch in enumerate(step.get("branches") or []):
            yield from _steps(branch.get("steps") or [], (*here, "branches", number, "steps"))
