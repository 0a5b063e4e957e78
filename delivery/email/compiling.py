"""One channel content, ready to be filled in for one person after the other."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from html import escape
from typing import Any

import msgspec
from django.utils import translation
from django.utils.translation import gettext as _
from liquid import BoundTemplate
from markupsafe import escape as markup_escape

from delivery.content import Compiled, ContentError, liquid, plain
from delivery.content.brand import Brand
from delivery.email import keeping, layouts, links
from delivery.email.content import EmailContent, FilledEmail, Head
from delivery.links.apps import app_schemes

_PLAIN = re.compile(r"\{\{-?\s*([a-zA-Z_]\w*(?:\.[a-zA-Z_]\w*)*)\s*-?\}\}")
_HEAD = frozenset(Head.__struct_fields__)
_TEXT_FOOTER = "\n\n-- \n%s{{ email_words.unsubscribe }}: {{ unsubscribe_url }}\n"


class CompiledEmail:
    """An email's content with its layout; `render` makes one person's copy.

    Raises:
        ContentError: the first thing wrong with it.
    """

    def __init__(self, content: Mapping[str, Any], brand: Brand):
        self.authored = content
        email = converted(content)
        self.layout = layouts.compiled(email, brand)
        head = {name: value for name, value in content.items() if name in _HEAD}
        if email.text and layouts.with_footer(email.text):
            who = [line for line in (brand.name, *brand.postal_address.splitlines()) if line]
            head["text"] = email.text + _TEXT_FOOTER % "".join(f"{_verbatim(line)}\n" for line in who)
        head = _from_brand(head, brand)
        self._head = Compiled(Head, head)
        self._field = layouts.body_field(email)
        self._regions: list[BoundTemplate] = [
            liquid.parse(source, html=True) for source in self.layout.regions
        ]
        self._names = [_name(source) for source in self.layout.regions]
        self._apps = cache(app_schemes)  # asked for once, however many people are led to an app
        keeping.hold(self.layout)

    def names(self, words: Iterable[str]) -> bool:
        """Whether it holds one of these words: its footer leads to the pages where people choose."""
        return True

    def render(
        self, data: Mapping[str, Any], missing: list[str] | None = None, locale: str = ""
    ) -> FilledEmail:
        """Return the email filled in with `data`; names without value or default are appended to `missing`.

        Args:
            locale: the language of these words; "" for the installation's own.

        Raises:
            ContentError: a text can't be rendered for this data, or an address is none.
        """
        told = {**data, "email_words": words(locale), "email_locale": locale or "und"}
        head = msgspec.structs.asdict(self._head.render(told, missing, locale))
        values = []
        for number, region in enumerate(self._regions):
            value = _looked_up(self._names[number], told)
            if value is None:
                try:
                    value = liquid.render(region, told, missing, locale)
                except liquid.TemplateError as error:
                    raise ContentError(self._field, str(error)) from error
            if number in self.layout.leads:
                value = value.strip()
                links.check(value, self._field, self._apps)
            values.append(value)
        return FilledEmail(**head, layout=self.layout.digest, values=values)


def _from_brand(head: dict[str, Any], brand: Brand) -> dict[str, Any]:
    """Return the head with the brand's sender, name and address together, where the message names none of its own.

    What is empty after that is the sending account's to say.
    """
    usual: dict[str, str] = {}
    if brand.sender_email and not head.get("from_address"):
        usual["from_address"] = brand.sender_email
        if not head.get("from_name"):
            usual["from_name"] = brand.sender_name
    if brand.reply_to and not head.get("reply_to"):
        usual["reply_to"] = brand.reply_to
    return {**head, **{name: _verbatim(value) for name, value in usual.items()}}


def _name(source: str) -> list[str]:
    """The path in an output of Liquid that is nothing but a name; empty for all others."""
    found = _PLAIN.fullmatch(source)
    return found[1].split(".") if found else []


def _looked_up(path: list[str], data: Mapping[str, Any]) -> str | None:
    """What Liquid would print for a path that leads to a text, at a tenth of the effort; None for all else."""
    value = plain.value(path, data) if path else None
    return None if value is None else str(markup_escape(value))


def converted(content: Mapping[str, Any]) -> EmailContent:
    """Return authored JSON as the struct that it stands for.

    Raises:
        ContentError: its shape is wrong, or it has no body or two.
    """
    try:
        email = msgspec.convert(content, EmailContent)
    except msgspec.ValidationError as error:
        raise shape_error(error) from error
    bodies = [name for name in ("blocks", "mjml", "html") if getattr(email, name)]
    if not bodies:
        raise ContentError("blocks", _("The email has no body."))
    if len(bodies) > 1:
        raise ContentError(bodies[1], _("Write the body in one way only: blocks, MJML or HTML."))
    return email


def shape_error(error: msgspec.ValidationError) -> ContentError:
    """Return what is wrong with the shape of a content, at its field."""
    message, _sep, path = str(error).partition(" - at `$")
    field = path.strip("`").lstrip(".").partition(".")[0].partition("[")[0]
    if field == "blocks":
        return ContentError(field, _of_block(path.strip("`"), message))
    if "missing required field" in message:
        field = message.rpartition("`")[0].rpartition("`")[2]
    if "missing required field" in message or "length >= 1" in message:
        message = _("This must not be empty.")
    elif "unknown field" in message:
        message, field = (
            _("This does not belong here."),
            field if field in EmailContent.__struct_fields__ else "",
        )
    return ContentError(field, message)


@lru_cache(maxsize=64)
def words(locale: str) -> dict[str, str]:
    """Return what the footer says in a language; in ours where we do not speak it."""
    with translation.override(locale.lower() or None):
        return {"unsubscribe": _("Unsubscribe"), "preferences": _("Choose what you get")}


def _verbatim(line: str) -> str:
    """Return a line of the brand kit for a template: Liquid in it is not followed."""
    return line.replace("{", "").replace("}", "")


def _of_block(path: str, message: str) -> str:
    """What is wrong with the shape of a block, named by its place and as its form calls the field."""
    from delivery.email import widgets

    place = re.match(r"\.blocks\[(\d+)\]", path)
    name = path.rpartition(".")[2]
    labels = {
        field["name"]: str(field["label"])
        for kind in widgets.kinds()
        for field in kind["fields"]
        if field["name"] == name
    }
    if name == "items":
        message = _("Write the list of products as Liquid calls it, such as event.products or recommended.")
    elif name in labels and "length" not in message:
        message = _("“%s” can't have this value.") % labels[name]
    number = int(place[1]) + 1 if place else 0
    return _("Block %(number)d: %(problem)s") % {"number": number, "problem": message} if number else message


def blocks_problems(blocks: Sequence[Any]) -> list[str]:
    """Return what is wrong with single blocks, as sentences that name them by their place."""
    found = []
    for place, block in enumerate(blocks, start=1):
        for problem in _block_problems(block):
            found.append(_("Block %(number)d: %(problem)s") % {"number": place, "problem": problem})
    return found


def _block_problems(block: Any) -> list[str]:
    found = []
    for name, value in msgspec.structs.asdict(block).items():
        if isinstance(value, list):
            found += [problem for inner in value for problem in _block_problems(inner)]
        elif isinstance(value, str) and value:
            try:
                liquid.parse(escape(value) if name == "items" else value, html=True)
                if name in ("href", "src") and not liquid.is_template(value):
                    links.check(value, "")
            except (liquid.TemplateError, ContentError) as error:
                found.append(str(error))
    kind = type(block).__name__
    if kind == "Image" and block.src and not block.alt.strip():
        found.append(_("Describe the picture for those who do not see it."))
    if kind == "Button" and not (block.label.strip() and block.href.strip()):
        found.append(_("A button has both words and a link."))
    return found
