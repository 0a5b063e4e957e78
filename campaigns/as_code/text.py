"""YAML texts and plain values.

Reading keeps the place of every value. What a plain word means follows the core schema of YAML 1.2, where only true
and false are truth values, and `on`, `no` and 09:00 are texts. There are no aliases, tags or merged maps: a small text
can't become large, and nothing is made from it but texts, numbers, lists and maps.

Writing quotes whatever YAML 1.1 would take for something else, so that other tools read the same.
"""

import math
import re
from typing import Any

import yaml
from django.utils.translation import gettext as _

from campaigns.as_code.problems import BundleError, Path, Position, Problem, too_large

MOST_BYTES = 2 * 2**20
MOST_VALUES = 100_000
MOST_DEPTH = 60
FLOW_WIDTH = 80  # characters of a list of plain values that stays on one line

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = re.compile(r"(?:~|null|Null|NULL)?")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_ODD_BREAKS = re.compile("[\r\x85\u2028\u2029\ufeff\x00-\x08\x0b-\x1f]")
_TRAILING = re.compile(r"[ \t]\n|[ \t]\Z")

Positions = dict[Path, Position]


def load(text: str) -> tuple[Any, Positions]:
    """The value that a YAML text stands for, and where each part of it begins.

    Raises:
        BundleError: it is no such text, is too large or nested too deep, or names something twice.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise too_large(MOST_BYTES)
    reader = _Reader()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            reader.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Position(mark.line + 1, mark.column + 1) if mark else None
        raise BundleError([Problem((), _("This is not YAML: %s.") % (error.problem or ""), place)]) from error
    except (yaml.YAMLError, UnicodeError) as error:
        detail = str(error).splitlines()[0][:200]
        raise BundleError([Problem((), _("This is not YAML: %s.") % detail)]) from error
    return reader.root, reader.positions


class _Reader:
    """Builds a value from the events of a parser, without recursion."""

    def __init__(self) -> None:
        self.root: Any = None
        self.positions: Positions = {}
        self._documents = self._values = 0
        self._open: list[tuple[Path, Any]] = []
        self._key: list[str | None] = []  # of each open map the name that waits for its value

    def take(self, event: Any) -> None:
        place = Position(event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _refused((), _("There is a second document in this file."), place)
        elif isinstance(event, yaml.AliasEvent):
            raise _refused(self._path(), _("Write it out: there are no aliases here."), place)
        elif isinstance(event, yaml.NodeEvent):
            self._node(event, place)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()
            self._key.pop()

    def _node(self, event: Any, place: Position) -> None:
        if event.anchor is not None:
            raise _refused(self._path(), _("Write it out: there are no anchors here."), place)
        if event.tag is not None:
            raise _refused(self._path(), _("There are no tags here."), place)
        self._values += 1
        if self._values > MOST_VALUES:
            raise _refused((), _("There are more than %d values.") % MOST_VALUES, place)
        if self._open and isinstance(self._open[-1][1], dict) and self._key[-1] is None:
            self._name(event, place)
            return
        path = self._path()
        self.positions.setdefault(path, place)
        if isinstance(event, yaml.ScalarEvent):
            self._put(_scalar(event, path, place))
            return
        if len(self._open) >= MOST_DEPTH:
            raise _refused(path, _("This is nested too deep."), place)
        value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._put(value)
        self._open.append((path, value))
        self._key.append(None)

    def _name(self, event: Any, place: Position) -> None:
        path, holder = self._open[-1]
        if not isinstance(event, yaml.ScalarEvent):
            raise _refused(path, _("A name is a text."), place)
        if event.value in holder:
            raise _refused((*path, event.value), _("This is here twice."), place)
        self._key[-1] = event.value
        self.positions[*path, event.value] = place

    def _path(self) -> Path:
        if not self._open:
            return ()
        path, holder = self._open[-1]
        if isinstance(holder, list):
            return (*path, len(holder))
        return (*path, self._key[-1]) if self._key[-1] is not None else path

    def _put(self, value: Any) -> None:
        if not self._open:
            self.root = value
            return
        holder = self._open[-1][1]
        if isinstance(holder, list):
            holder.append(value)
        else:
            holder[self._key[-1]] = value
            self._key[-1] = None


def _scalar(event: Any, path: Path, place: Position) -> Any:
    text = event.value
    if "\x00" in text:
        raise _refused(path, _("NUL is not allowed here."), place)
    if not event.implicit[0]:  # quoted, or a block
        return text
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        number = int(text[2:] if base != 10 else text, base) if len(text) < 40 else 2**64
        if not abs(number) < 2**63:
            raise _refused(path, _("This number is too large."), place)
        return number
    if _FLOAT.fullmatch(text):
        value = float(text)
        if not math.isfinite(value):
            raise _refused(path, _("This number is too large."), place)
        return value
    return text


def _refused(path: Path, text: str, place: Position) -> BundleError:
    return BundleError([Problem(path, text, place)])


class _Dumper(yaml.SafeDumper):
    """Block style, texts of several lines as blocks, lists set in below their name."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        return super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, value: str) -> Any:
    style = None
    if _ODD_BREAKS.search(value):
        style = '"'  # in a block they would become other line breaks
    elif "\n" in value:
        style = '"' if _TRAILING.search(value) else "|"
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style)


def _list(dumper: _Dumper, value: list[Any]) -> Any:
    plain = not any(isinstance(each, dict | list) or "\n" in str(each) for each in value)
    short = plain and sum(len(str(each)) + 2 for each in value) <= FLOW_WIDTH
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=short)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _list)
for _kind, _pattern, _first in (
    ("int", _INT, "-+0123456789"),
    ("float", _FLOAT, "-+0123456789."),
    ("bool", _BOOL, "tTfF"),
    ("null", _NULL, ["~", "n", "N", ""]),
):
    _Dumper.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern.pattern})$"), list(_first)
    )


def dump(value: Any) -> str:
    """The YAML text of plain values; the same value always gives the same text."""
    return yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=2**20,  # no line is broken by its length: what differs stays on its own line
    )
