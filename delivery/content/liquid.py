"""Liquid templates over plain data, with limits, so that no text can harm the sender."""

import time
from collections.abc import Callable, Mapping, Sized
from contextvars import ContextVar
from functools import lru_cache, wraps
from typing import Any

from django.utils.translation import gettext as _
from liquid import BoundTemplate, Environment, Mode, RenderContext, Undefined
from liquid.exceptions import LiquidError, ResourceLimitError

MAX_SOURCE = 10_000  # characters of one template
MAX_OUTPUT = 16_000  # bytes of one rendered text; channels allow less
MAX_LOOPS = 1_000
MAX_NAMESPACE = 64_000  # bytes held by the template's own variables
MAX_SECONDS = 0.25
MAX_ITEM = 32_000  # characters or elements that a filter may take or make


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
        if time.monotonic() > _deadline.get():
            raise _TooMuch("rendering takes too long")
        return super().get(*args, **kwargs)


class _Template(BoundTemplate):
    context_class = _Context


class _Environment(Environment):
    loop_iteration_limit = MAX_LOOPS
    local_namespace_limit = MAX_NAMESPACE
    output_stream_limit = MAX_OUTPUT
    template_class = _Template


def _limited(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter so that a chain of cheap filters can't build something huge."""

    @wraps(function)
    def wrapper(value: Any, *args: Any, **kwargs: Any) -> Any:
        for item in (value, *args):
            _check_size(item)
        if name in ("replace", "join") and args:
            _check_growth(name, value, args)
        result = function(value, *args, **kwargs)
        _check_size(result)
        return result

    return wrapper


def _check_size(item: Any) -> None:
    if time.monotonic() > _deadline.get():
        raise _TooMuch("rendering takes too long")
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


def _environment() -> Environment:
    environment = _Environment(tolerance=Mode.STRICT, strict_filters=True, undefined=_Missing)
    for tag in ("include", "render"):  # there is nothing to include, and no way to the files
        del environment.tags[tag]
    for name, function in list(environment.filters.items()):
        environment.filters[name] = _limited(name, function)
    return environment


_ENVIRONMENT = _environment()


def is_template(text: str) -> bool:
    """Whether `text` holds anything to fill in."""
    return "{{" in text or "{%" in text


@lru_cache(maxsize=2048)
def parse(source: str) -> BoundTemplate:
    """Return the parsed template.

    Raises:
        TemplateError: it is not valid Liquid, names an unknown filter, or is too long.
    """
    if len(source) > MAX_SOURCE:
        raise TemplateError(_("The text is longer than %d characters.") % MAX_SOURCE)
    try:
        template = _ENVIRONMENT.from_string(source)
        used = template.analyze().filters
    except LiquidError as error:
        raise _plain(error, source) from error
    except (ValueError, RecursionError) as error:  # e.g. numbers too long to read, nesting too deep
        raise TemplateError(_("This can't be read as Liquid.")) from error
    for name, places in used.items():
        if name not in _ENVIRONMENT.filters:
            line = source.count("\n", 0, places[0].index) + 1
            raise TemplateError(_("There is no filter “%s”.") % name, line)
    return template


def render(template: BoundTemplate, data: Mapping[str, Any], missing: list[str] | None = None) -> str:
    """Fill `template` with `data` (plain dicts, lists, texts and numbers only).

    Args:
        missing: names that are not in the data and have no default are appended to it.

    Raises:
        TemplateError: the text can't be rendered for this data, or a limit was reached.
    """
    names, deadline = _missing.set(missing), _deadline.set(time.monotonic() + MAX_SECONDS)
    try:
        text = template.render(data)
    except LiquidError as error:
        raise _plain(error) from error
    except (ArithmeticError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise TemplateError(str(error) or type(error).__name__) from error
    finally:
        _missing.reset(names)
        _deadline.reset(deadline)
    return text.replace("\x00", "")  # decoding filters can make one; PostgreSQL can't store it


def _plain(error: LiquidError, source: str = "") -> TemplateError:
    try:
        place = error.context()
    except ValueError:  # Liquid points behind the last character when something is not closed
        place = None
    line = place[0] if place else (source.count("\n") + 1 if source else None)
    return TemplateError(str(error.message or type(error).__name__), line)
