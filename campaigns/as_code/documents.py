"""What a bundle holds: its sections, each a map by short name."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from django.utils.translation import gettext as _

from campaigns.as_code import text
from campaigns.as_code.problems import BundleError, Path, Position, Problem
from campaigns.flows.definition import Definition
from crm.rules import shapes

VERSION = 1
MAX_NAME, MAX_DESCRIPTION = 200, 2000  # characters
DEFAULT = "default"  # the language of the words for everybody
FIRST_VARIANT = "a"

Contents = dict[str, dict[str, dict[str, Any]]]
"""Words by channel and language, in the shape of the channel."""


class TopicPart(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Something to write about, without its place on the preference page."""

    name: str
    description: str = ""
    translations: dict[str, dict[str, str]] = {}
    shown: bool = True
    needs_yes: bool = False
    double_opt_in: bool = False
    legal_basis: str = "consent"


class CouponPart(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A pool of coupon codes, without its codes; `code` is the one that everybody gets."""

    name: str
    kind: str = "unique"
    code: str = ""
    expires_at: str | None = None
    low_mark: int = 100
    event_name: str = "purchase"
    event_property: str = "coupon"


class SegmentPart(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A segment with its rule, or a list without its people."""

    name: str
    description: str = ""
    kind: str = "rule"
    rule: dict[str, Any] | None = None


class MessagePart(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A message with all its words. `variants` are those beside the first.

    `parts` tells how people are divided among the variants, by their letters, and `variant_names` what they are called;
    without it, evenly.
    """

    name: str
    topic: str = ""
    important: bool = False
    confirms: bool = False
    goal_event: str = "purchase"
    goal_window_hours: int = 72
    goal_value_property: str = "total"
    expires_after_hours: int = 24
    adults_only: bool = False
    content_group: str = ""
    holdout_percent: int = 0
    contents: Contents = {}
    variants: dict[str, Contents] = {}
    parts: dict[str, int] = {}
    variant_names: dict[str, str] = {}


class FlowPart(Definition, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A flow: its name and its definition."""

    name: str
    description: str = ""


SECTIONS: dict[str, type[msgspec.Struct]] = {
    "topics": TopicPart,
    "coupons": CouponPart,
    "segments": SegmentPart,
    "messages": MessagePart,
    "flows": FlowPart,
}
"""In the order in which they are written and made: each may name what is in those before it."""

_SLUG = re.compile(r"[-a-zA-Z0-9_]{1,50}")


class Bundle(msgspec.Struct):
    """The sections as plain values; `positions` tells where in the text each part of them was, if there was one."""

    data: dict[str, Any]
    positions: text.Positions = {}

    def position(self, path: Path) -> Position | None:
        """Where a value, or the nearest one around it, begins."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.positions:
                return self.positions[path[:length]]
        return None

    def problem(self, path: Path, sentence: str, blocking: bool = True) -> Problem:
        """A mistake at its place."""
        return Problem(path, sentence, self.position(path), blocking)


class Parts(msgspec.Struct):
    """The sections of a bundle with everything in its shape, by short name."""

    topics: dict[str, TopicPart] = {}
    coupons: dict[str, CouponPart] = {}
    segments: dict[str, SegmentPart] = {}
    messages: dict[str, MessagePart] = {}
    flows: dict[str, FlowPart] = {}

    def section(self, name: str) -> Mapping[str, Any]:
        """One of SECTIONS."""
        return getattr(self, name)


def read(source: str) -> Bundle:
    """A bundle from its YAML text; its shape is checked.

    Raises:
        BundleError: it is not YAML, or not a bundle; with every mistake of its shape.
    """
    data, positions = text.load(source)
    bundle = Bundle(data if data is not None else {}, positions)
    parts(bundle)
    return bundle


def parts(bundle: Bundle) -> Parts:
    """Everything in its shape.

    Raises:
        BundleError: with the first mistake of each flow, segment, message, pool and topic.
    """
    found, problems = Parts(), []
    if not isinstance(bundle.data, dict):
        raise BundleError([bundle.problem((), _("Begin with sections such as “flows:”."))])
    for name, section in bundle.data.items():
        if name == "version":
            if section != VERSION or isinstance(section, bool):
                problems.append(bundle.problem(("version",), _("Only version %d can be read.") % VERSION))
        elif name not in SECTIONS:
            known = ", ".join(SECTIONS)
            problems.append(bundle.problem((name,), _("There is no such section; there are: %s.") % known))
        elif not isinstance(section, dict):
            if section is not None:
                problems.append(bundle.problem((name,), _("Give each a short name.")))
        else:
            for slug, value in section.items():
                try:
                    getattr(found, name)[slug] = _part(bundle, name, slug, value)
                except BundleError as error:
                    problems += error.problems
    if problems:
        raise BundleError(problems)
    return found


def _part(bundle: Bundle, section: str, slug: str, value: Any) -> msgspec.Struct:
    path: Path = (section, slug)
    if not _SLUG.fullmatch(slug):
        raise BundleError([bundle.problem(path, _("A short name has 1 to 50 letters, digits, - and _."))])
    try:
        part: Any = msgspec.convert(value, SECTIONS[section])
    except msgspec.ValidationError as error:
        found = shapes.problem(error, "")
        raise BundleError([bundle.problem(path + keys(found.path, value), found.message)]) from error
    problems = []
    if not part.name.strip() or len(part.name) > MAX_NAME:
        problems.append(bundle.problem((*path, "name"), _("A name has 1 to %d characters.") % MAX_NAME))
    if len(getattr(part, "description", "")) > MAX_DESCRIPTION:
        limit = _("A description has at most %d characters.") % MAX_DESCRIPTION
        problems.append(bundle.problem((*path, "description"), limit))
    if problems:
        raise BundleError(problems)
    return part


_WORD = re.compile(r"\[(\d+|\.\.\.)\]|([^.\[\]]+)")


def keys(written: str, value: Any) -> Path:
    """The keys of a path such as `steps[0].config`, as far as they lead into `value`."""
    found: list[str | int] = []
    for index, name in _WORD.findall(written):
        if index == "...":  # so does msgspec name any key of a map
            break
        key: str | int = int(index) if index else name
        if isinstance(value, dict):
            there = key in value
        else:
            there = isinstance(value, list) and isinstance(key, int) and key < len(value)
        if not there:
            break
        value = value[key]
        found.append(key)
    return tuple(found)
