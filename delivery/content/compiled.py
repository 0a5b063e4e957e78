"""Authored content of any channel: checked at save, filled in at sending."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, get_type_hints
from urllib.parse import urlsplit

import msgspec
from django.utils.translation import gettext as _

from delivery.content import liquid
from delivery.content.plain import PlainText

Link = Annotated[str, msgspec.Meta(extra={"link": True})]
"""A field of a channel's Config that holds an address; it may contain variables."""

Html = Annotated[str, msgspec.Meta(extra={"html": True})]
"""A field of a channel's Config that holds markup: what is filled in is escaped."""

Path = tuple[str | int, ...]


class ContentError(ValueError):
    """Content that can't be sent. `field` is the top-level field of the channel's Config."""

    def __init__(self, field: str, message: str):
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.message = message


class Compiled:
    """One channel's content with its templates parsed; `render` makes one person's copy.

    Args:
        config: the channel's msgspec struct; every text in it is a template.
        content: the authored JSON.

    Raises:
        ContentError: the first thing wrong with it; `problems` lists them all.
    """

    def __init__(self, config: type[msgspec.Struct], content: Mapping[str, Any]):
        self.config = config
        try:
            self._base = msgspec.to_builtins(msgspec.convert(content, config))
        except msgspec.ValidationError as error:
            raise _shape_error(error) from error
        self._slots: list[tuple[Path, liquid.BoundTemplate, PlainText | None, bool]] = []
        self._told: list[str] = []
        self._flat = True  # no slot is inside of a list or a dict
        for path, text, marks in _texts(self._base, config):
            if liquid.is_template(text):
                try:
                    html = "html" in marks
                    plain = None if html else PlainText.of(text)
                    self._slots.append((path, liquid.parse(text, html), plain, "link" in marks))
                    self._told.append(text)
                    self._flat = self._flat and len(path) == 1
                except liquid.TemplateError as error:
                    raise ContentError(str(path[0]), str(error)) from error
            elif "link" in marks:
                _check_link(path, text)

    def names(self, words: Iterable[str]) -> bool:
        """Whether a template of it holds one of these words."""
        return any(word in text for text in self._told for word in words)

    def render(self, data: Mapping[str, Any], missing: list[str] | None = None, locale: str = "") -> Any:
        """Return the struct filled in with `data`; names without value or default are appended to `missing`.

        Args:
            locale: the language of these words; "" for the installation's own.

        Raises:
            ContentError: a text can't be rendered for this data, or a link is none.
        """
        if not self._slots:
            return msgspec.convert(self._base, self.config)
        filled = dict(self._base) if self._flat else _copy(self._base)
        for path, template, plain, is_link in self._slots:
            text = plain.render(data) if plain and missing is None else None
            if text is None:
                try:
                    text = liquid.render(template, data, missing, locale)
                except liquid.TemplateError as error:
                    raise ContentError(str(path[0]), str(error)) from error
            if is_link:
                text = text.strip()
                _check_link(path, text)
            holder = filled
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = text
        try:
            return msgspec.convert(filled, self.config)
        except msgspec.ValidationError as error:
            raise _shape_error(error) from error


def problems(config: type[msgspec.Struct], content: Mapping[str, Any]) -> list[ContentError]:
    """Return everything that is wrong with authored `content`, at most one problem per field."""
    found: dict[str, ContentError] = {}
    try:
        Compiled(config, content)
    except ContentError as error:
        found[error.field] = error
    for name, value in content.items():
        if name in config.__struct_fields__ and name not in found:
            for path, text, marks in _texts({name: value}, config):
                try:
                    if liquid.is_template(text):
                        liquid.parse(text, "html" in marks)
                    elif "link" in marks:
                        _check_link(path, text)
                except liquid.TemplateError as error:
                    found.setdefault(name, ContentError(name, str(error)))
                except ContentError as error:
                    found.setdefault(name, error)
    return list(found.values())


def marked_fields(config: type[msgspec.Struct], mark: str) -> frozenset[str]:
    """Return the fields of a channel's Config that are a "link" or "html"."""
    return frozenset(
        name
        for name, hint in get_type_hints(config, include_extras=True).items()
        if any((getattr(each, "extra", None) or {}).get(mark) for each in getattr(hint, "__metadata__", ()))
    )


def _texts(
    content: Mapping[str, Any], config: type[msgspec.Struct]
) -> Iterator[tuple[Path, str, frozenset[str]]]:
    """Yield (path, text, what its hint says of it: "link", "html") for each text in `content`."""
    hints = get_type_hints(config, include_extras=True)
    for name, value in content.items():
        yield from _walk((name,), value, hints.get(name))


def _walk(path: Path, value: Any, hint: Any) -> Iterator[tuple[Path, str, frozenset[str]]]:
    metadata = getattr(hint, "__metadata__", ())
    if metadata:
        hint = hint.__origin__
    if isinstance(value, str):
        yield (
            path,
            value,
            frozenset(
                mark for item in metadata for mark, on in (getattr(item, "extra", None) or {}).items() if on
            ),
        )
    elif isinstance(value, dict):
        struct = isinstance(hint, type) and issubclass(hint, msgspec.Struct)
        hints = get_type_hints(hint, include_extras=True) if struct else {}
        for key, item in value.items():
            yield from _walk((*path, key), item, hints.get(key))
    elif isinstance(value, list):
        [inner] = getattr(hint, "__args__", None) or [None]
        for index, item in enumerate(value):
            yield from _walk((*path, index), item, inner)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value


def _check_link(path: Path, text: str) -> None:
    """Let through "" , http(s) addresses and paths of the own site; a browser must not read them otherwise."""
    if not text:
        return
    try:
        url = urlsplit(text)
        fine = (
            url.scheme in ("http", "https") and bool(url.hostname)
            if url.scheme or text.startswith(("//", "\\"))
            else text.startswith(("/", "?", "#"))
        )
    except ValueError:
        fine = False
    if not fine or "\\" in text or any(ord(character) < 0x21 for character in text):
        raise ContentError(
            str(path[0]), _("“%s” is not a link: it must begin with https://, http:// or /.") % text[:80]
        )


def _shape_error(error: msgspec.ValidationError) -> ContentError:
    message, _sep, path = str(error).partition(" - at `$")
    field = path.strip("`").lstrip(".").partition(".")[0].partition("[")[0]
    if "missing required field" in message:
        field = message.rpartition("`")[0].rpartition("`")[2]
        message = _("This must not be empty.")
    elif "length >= 1" in message:
        message = _("This must not be empty.")
    return ContentError(field, message)
