"""Liquid templates over plain data, with limits, so that no text can harm the sender."""

import time
from collections.abc import Callable, Iterator, Mapping, Sized
from contextvars import ContextVar
from functools import lru_cache, wraps
from typing import Any

from django.utils.translation import gettext as _
from liquid import BoundTemplate, Environment, Mode, RenderContext, Undefined
from liquid.exceptions import LiquidError, ResourceLimitError, TemplateNotFoundError
from liquid.loader import BaseLoader, TemplateSource
from markupsafe import Markup

from delivery.content import localised

MAX_SOURCE = 10_000  # characters of one template
MAX_HTML_SOURCE = 200_000
MAX_OUTPUT = 16_000  # bytes of one rendered text; channels allow less
MAX_HTML_OUTPUT = 500_000
MAX_LOOPS = 1_000
MAX_NAMESPACE = 64_000  # bytes held by the template's own variables
MAX_SECONDS = 0.25
MAX_ITEM = 32_000  # characters or elements that a filter may take or make
MAX_COMPARED = 2_000  # elements that are compared with each other
SNIPPETS = "snippets"


class TemplateError(ValueError):
    """A template that can't be read or rendered. `line` counts from 1; None where there is none to name."""

    def __init__(self, message: str, line: int | None = None):
        super().__init__(message)
        self.message = message
        self.line = line

    def __str__(self) -> str:
        return _("line %(line)d: %(message)s") % self.__dict__ if self.line else self.message


class _TooMuch(ResourceLimitError):
    """A limit of ours; Liquid's own errors need a token, ours have none."""

    def __init__(self, message: str):
        super().__init__(message, token=None)


_missing: ContextVar[list[str] | None] = ContextVar("missing", default=None)
_deadline: ContextVar[float] = ContextVar("deadline", default=float("inf"))


class _Missing(Undefined):
    """An unknown name: prints nothing, and tells the author."""

    def __str__(self) -> str:
        found = _missing.get()
        if found is not None:
            found.append((self.hint or self.name).removesuffix(" is undefined").strip("'"))
        return ""


class _Context(RenderContext):
    def get(self, *args: Any, **kwargs: Any) -> object:
        _check_time()
        return super().get(*args, **kwargs)

    def loop(self, namespace: Mapping[str, object], forloop: Any) -> Any:
        forloop.it = _watched(forloop.it)  # what is looped over need not ask for any name
        return super().loop(namespace, forloop)


def _watched(items: Iterator[Any]) -> Iterator[Any]:
    for item in items:
        _check_time()
        yield item


def _check_time() -> None:
    if time.thread_time() > _deadline.get():
        raise _TooMuch("rendering takes too long")


class _Template(BoundTemplate):
    context_class = _Context


class Snippets(Mapping[str, str]):
    """What templates see as `snippets`: texts by short name, filled in with the same data when they are asked for.

    In the data it holds the sources; `render` gives it what it needs to fill them in.
    """

    def __init__(self, sources: Mapping[str, str]):
        self.sources = sources
        self._html = False
        self._data: Mapping[str, Any] = {}

    def within(self, html: bool, data: Mapping[str, Any]) -> "Snippets":
        """Return a copy that fills in with `data`."""
        bound = Snippets(self.sources)
        bound._html, bound._data = html, data
        return bound

    def __getitem__(self, name: str) -> str:
        if name not in self.sources:
            raise TemplateNotFoundError(_("There is no snippet “%s”.") % name, token=None)
        # Without `snippets`: none holds another, so that they can't go round in circles.
        data = {key: value for key, value in self._data.items() if key != SNIPPETS}
        text = parse(self.sources[name], self._html).render(data)
        _check_size(text)
        return Markup(text) if self._html else text  # noqa: S704 - what it was filled in with is escaped

    def __iter__(self) -> Iterator[str]:
        return iter(self.sources)

    def __len__(self) -> int:
        return len(self.sources)


class _Loader(BaseLoader):
    """Finds what `render` names among the snippets in the data; there is no way to files."""

    def get_source(self, env: Environment, template_name: str, **kwargs: Any) -> TemplateSource:
        """Only `load` is used."""
        raise TemplateNotFoundError(template_name, token=None)

    def load(
        self, env: Environment, name: str, *, context: RenderContext | None = None, **kwargs: Any
    ) -> BoundTemplate:
        """Return the parsed snippet."""
        # A copied context is that of a snippet: none holds another.
        known = context.globals.get(SNIPPETS) if context and not context.parent_context else None
        if not isinstance(known, Snippets) or name not in known.sources:
            raise TemplateNotFoundError(_("There is no snippet “%s”.") % name, token=None)
        return parse(known.sources[name], env.autoescape)


class _Environment(Environment):
    loop_iteration_limit = MAX_LOOPS
    local_namespace_limit = MAX_NAMESPACE
    output_stream_limit = MAX_OUTPUT
    template_class = _Template


class _HtmlEnvironment(_Environment):
    output_stream_limit = MAX_HTML_OUTPUT


def _limited(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter so that a chain of cheap filters can't build something huge."""

    @wraps(function)
    def wrapper(value: Any, *args: Any, **kwargs: Any) -> Any:
        for item in (value, *args):
            _check_size(item)
        if name in ("replace", "join") and args:
            _check_growth(name, value, args)
        if name == "uniq" and isinstance(value, Sized) and len(value) > MAX_COMPARED:
            raise _TooMuch("the list is too long")
        result = function(value, *args, **kwargs)
        _check_size(result)
        return result

    return wrapper


def _check_size(item: Any) -> None:
    _check_time()
    if isinstance(item, int):
        if item.bit_length() > 1024:
            raise _TooMuch("the number is too large")
    elif isinstance(item, Sized) and len(item) > MAX_ITEM:
        raise _TooMuch("the text or list is too long")


def _check_growth(name: str, value: Any, args: tuple[Any, ...]) -> None:
    """Refuse before the work: both filters can multiply lengths in one call."""
    if name == "replace":
        text, longest = str(value), len(str(args[1])) if len(args) > 1 else 0
        pieces = text.count(str(args[0])) if str(args[0]) else len(text) + 1
    else:
        pieces, longest = len(value) if isinstance(value, Sized) else 0, len(str(args[0]))
    if pieces * longest > MAX_ITEM:
        raise _TooMuch("the text is too long")


def _environment(html: bool) -> Environment:
    environment = (_HtmlEnvironment if html else _Environment)(
        tolerance=Mode.STRICT, strict_filters=True, undefined=_Missing, autoescape=html, loader=_Loader()
    )
    del environment.tags["include"]  # shares its caller's variables; `render` does not
    environment.filters |= localised.FILTERS
    for name, function in list(environment.filters.items()):
        environment.filters[name] = _limited(name, function)
    return environment


_ENVIRONMENTS = {html: _environment(html) for html in (False, True)}
FILTERS = frozenset(_ENVIRONMENTS[False].filters)


def is_template(text: str) -> bool:
    """Whether `text` holds anything to fill in."""
    return "{{" in text or "{%" in text


@lru_cache(maxsize=2048)
def parse(source: str, html: bool = False) -> BoundTemplate:
    """Return the parsed template.

    Args:
        html: it is markup: what is filled in is escaped, and it may be longer.

    Raises:
        TemplateError: it is not valid Liquid, names an unknown filter, or is too long.
    """
    limit = MAX_HTML_SOURCE if html else MAX_SOURCE
    if len(source) > limit:
        raise TemplateError(_("The text is longer than %d characters.") % limit)
    try:
        template = _ENVIRONMENTS[html].from_string(source)
        used = template.analyze(include_partials=False).filters
    except LiquidError as error:
        raise _plain(error, source) from error
    except (ValueError, RecursionError) as error:  # e.g. numbers too long to read, nesting too deep
        raise TemplateError(_("This can't be read as Liquid.")) from error
    for name, places in used.items():
        if name not in FILTERS:
            line = source.count("\n", 0, places[0].index) + 1
            raise TemplateError(_("There is no filter “%s”.") % name, line)
    return template


def render(
    template: BoundTemplate,
    data: Mapping[str, Any],
    missing: list[str] | None = None,
    locale: str = "",
) -> str:
    """Fill `template` with `data` (plain dicts, lists, texts and numbers, and `Snippets` only).

    Args:
        missing: names that are not in the data and have no default are appended to it.
        locale: the language of the text; "" for the installation's own. Amounts and dates are written as there, times
            in the zone of `data["profile"]`.

    Raises:
        TemplateError: the text can't be rendered for this data, or a limit was reached.
    """
    profile = data.get("profile") or {}
    names, deadline = _missing.set(missing), _deadline.set(time.thread_time() + MAX_SECONDS)
    place = localised.place.set(localised.Place.of(locale, profile.get("language"), profile.get("timezone")))
    try:
        if isinstance(known := data.get(SNIPPETS), Snippets):
            data = {**data, SNIPPETS: known.within(template.env.autoescape, data)}
        text = template.render(data)
    except LiquidError as error:
        raise _plain(error) from error
    except (ArithmeticError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise TemplateError(str(error) or type(error).__name__) from error
    finally:
        _missing.reset(names)
        _deadline.reset(deadline)
        localised.place.reset(place)
    return str(text).replace("\x00", "")  # decoding filters can make one; PostgreSQL can't store it


def _plain(error: LiquidError, source: str = "") -> TemplateError:
    try:
        place = error.context()
    except ValueError:  # Liquid points behind the last character when something is not closed
        place = None
    line = place[0] if place else (source.count("\n") + 1 if source else None)
    return TemplateError(str(error.message or type(error).__name__), line)
