"""Emails compiled once: what is the same for everybody, and the places where people differ.

Compiling MJML takes most of the work and does not depend on the reader. So a layout is made once for each content:
its HTML and its text, cut at the Liquid that is left in them. What one person gets is the layout with that person's
values, which is also how it is kept: a copy for each delivery would be the same kilobytes a million times.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import mrml
import msgspec
from django.utils.translation import gettext as _

from delivery.content import ContentError, liquid
from delivery.content.brand import Brand
from delivery.email import links, markup, mjml, text
from delivery.email.content import EmailContent, Footer
from delivery.email.holes import LIQUID, Holes

Parts = list[str | int]  # texts, and the numbers of values between them
_KEEPING = {"assign", "capture", "increment", "decrement", "cycle", "liquid"}  # tags that others depend on
_TAG = re.compile(
    r"""<!--.*?-->|<(?P<end>/?)(?P<name>mj[\w-]*)(?:"[^"]*"|'[^']*'|[^>"'])*?(?P<whole>/?)>""", re.DOTALL
)
_VERBATIM = re.compile(
    r"<(mj-(?:text|button|raw|table|navbar-link|style|title|preview))\b([^>]*?)(?<!/)>(.*?)</\1\s*>",
    re.DOTALL,
)
_KNOWN = {
    *("mjml", "mj-head", "mj-body", "mj-attributes", "mj-all", "mj-class", "mj-breakpoint", "mj-font"),
    *(
        "mj-html-attributes",
        "mj-selector",
        "mj-html-attribute",
        "mj-preview",
        "mj-style",
        "mj-title",
        "mj-raw",
    ),
    *("mj-section", "mj-column", "mj-group", "mj-wrapper", "mj-hero", "mj-text", "mj-button", "mj-image"),
    *("mj-divider", "mj-spacer", "mj-table", "mj-social", "mj-social-element", "mj-navbar", "mj-navbar-link"),
    *("mj-accordion", "mj-accordion-element", "mj-accordion-title", "mj-accordion-text", "mj-carousel"),
    "mj-carousel-image",
}
_LEAVING = ("unsubscribe_url", "preferences_url")
# By itself it has readers fetch fonts from Google, who would then know who reads what.
_OPTIONS = mrml.RenderOptions(fonts={})


class Layout(msgspec.Struct, frozen=True):
    """A compiled email. `regions` are the Liquid sources whose values `html` and `text` number; a number in `leads`
    begins an address."""

    digest: str
    html: Parts
    text: Parts
    regions: list[str]
    leads: frozenset[int]


def compiled(email: EmailContent, brand: Brand) -> Layout:
    """Return the layout of an email; the same content in the same looks is compiled once in each process.

    Raises:
        ContentError: the body can't be compiled; the field is that of the body.
    """
    body = EmailContent(
        subject="-",
        preheader=email.preheader,
        blocks=email.blocks,
        mjml=email.mjml,
        html=email.html,
        direction=email.direction,
    )
    return _compiled(msgspec.json.encode((body, brand)))


@lru_cache(maxsize=256)
def _compiled(key: bytes) -> Layout:
    email, brand = msgspec.json.decode(key, type=tuple[EmailContent, Brand])
    field = body_field(email)
    whole = _SOURCES[field](email, brand)
    try:
        liquid.parse(whole, html=True)
    except liquid.TemplateError as error:
        raise ContentError(field, str(error)) from error
    return _cut(whole, field)


def body_field(email: EmailContent) -> str:
    """Return which of its three ways the body is written in: blocks, mjml or html."""
    return "html" if email.html else "mjml" if email.mjml else "blocks"


def assemble(parts: Sequence[str | int], values: Sequence[str]) -> str:
    """Return the parts with the values between them."""
    return "".join(part if isinstance(part, str) else values[part] for part in parts)


def direction_of(words: Sequence[str]) -> str:
    """Return "rtl" when most letters of `words` are of scripts that are written from right to left, else "ltr"."""
    kinds = [unicodedata.bidirectional(character) for word in words for character in LIQUID.sub("", word)]
    return "rtl" if sum(kind in ("R", "AL") for kind in kinds) > kinds.count("L") else "ltr"


def as_mjml(email: EmailContent, brand: Brand) -> str:
    """Return blocks as the MJML that they are compiled from, to be gone on with by hand."""
    document, holes = _document(email, brand)
    return holes.fill(re.sub(r">(?=</?mj)", ">\n", document))


def with_footer(source: str) -> bool:
    """Tell whether a body has no way to leave of its own, so that it gets one."""
    return not any(name in source for name in _LEAVING)


# --- The three ways to write a body -------------------------------------------------------------------------


def _blocks(email: EmailContent, brand: Brand) -> str:
    document, holes = _document(email, brand)
    return _html(document, holes, "blocks")


def _document(email: EmailContent, brand: Brand) -> tuple[str, Holes]:
    direction: str = email.direction
    words = [email.preheader, *_words(msgspec.to_builtins(email.blocks))]
    if direction == "auto":
        direction = direction_of(words)
    holes = Holes(*words)
    blocks = list(email.blocks)
    has_footer = any(isinstance(block, Footer) for block in blocks)
    if not has_footer and with_footer(" ".join(words)):
        blocks.append(Footer())
    return mjml.document(blocks, brand, holes, email.preheader, direction), holes


def _mjml(email: EmailContent, brand: Brand) -> str:
    source = email.mjml
    for found in re.finditer(r"<(mj[\w-]*)", source):
        if found[1] not in _KNOWN:
            line = source.count("\n", 0, found.start()) + 1
            problem = _("There is no element “%s”.") % found[1]
            raise ContentError("mjml", _("line %(line)d: %(message)s") % {"line": line, "message": problem})
    holes = Holes(source, email.preheader, brand.name, brand.postal_address)
    kept = _VERBATIM.sub(
        lambda found: f"<{found[1]}{holes.keep_liquid(found[2])}>{holes.keep(found[3])}</{found[1]}>", source
    )
    kept = holes.keep_liquid(kept)
    if with_footer(source):
        before, end, after = kept.rpartition("</mj-body>")
        kept = f"{before}{mjml.footer(brand, holes)}{end}{after}" if end else kept
    if email.preheader and "<mj-preview" not in source:
        preview = f"<mj-preview>{holes.keep(markup.plain(email.preheader))}</mj-preview>"
        if re.search(r"<mj-head\b[^>]*>", kept):
            kept = re.sub(r"(<mj-head\b[^>]*>)", lambda found: found[1] + preview, kept, count=1)
        else:
            kept = re.sub(
                r"(<mjml\b[^>]*>)", lambda found: f"{found[1]}<mj-head>{preview}</mj-head>", kept, count=1
            )
    try:
        return _html(kept, holes, "mjml")
    except ContentError:
        _check_tags(source)
        raise


def _check_tags(source: str) -> None:
    """Find where MJML's elements do not fit together, which its compiler does not tell.

    Raises:
        ContentError: an element is not closed, closes nothing, or the document does not begin with one.
    """
    if not source.lstrip().startswith("<mj"):
        raise ContentError(
            "mjml", _("MJML begins with <mjml>. What you wrote may be HTML: choose that above.")
        )
    opened: list[re.Match[str]] = []
    for tag in _TAG.finditer(source):
        if not tag["name"] or tag["whole"]:
            continue
        if not tag["end"]:
            opened.append(tag)
        elif opened and opened[-1]["name"] == tag["name"]:
            opened.pop()
        elif any(each["name"] == tag["name"] for each in opened):
            raise _unclosed(source, opened[-1])
        else:
            raise _at(source, tag, _("</%s> closes nothing.") % tag["name"])
    if opened:
        raise _unclosed(source, opened[-1])


def _unclosed(source: str, tag: re.Match[str]) -> ContentError:
    return _at(source, tag, _("<%(name)s> is not closed by </%(name)s>.") % {"name": tag["name"]})


def _at(source: str, tag: re.Match[str], problem: str) -> ContentError:
    line = source.count("\n", 0, tag.start()) + 1
    return ContentError("mjml", _("line %(line)d: %(message)s") % {"line": line, "message": problem})


def _authored_html(email: EmailContent, brand: Brand) -> str:
    source = email.html
    if email.preheader:
        hidden = (
            f'<div style="display:none;max-height:0;overflow:hidden">{markup.plain(email.preheader)}</div>'
        )
        source, count = re.subn(
            r"(<body\b[^>]*>)", lambda found: found[1] + hidden, source, count=1, flags=re.I
        )
        source = source if count else hidden + source
    if with_footer(email.html):
        who = "<br>".join(
            markup.escape(line) for line in (brand.name, *brand.postal_address.splitlines()) if line
        )
        look = "padding:16px;text-align:center;font:12px/1.6 sans-serif"
        foot = f'<div style="{look}">{who}<br>{mjml.FOOTER_LINKS}</div>'
        place = source.lower().rfind("</body")
        source = source[:place] + foot + source[place:] if place >= 0 else source + foot
    return source


_SOURCES = {"blocks": _blocks, "mjml": _mjml, "html": _authored_html}


def _html(document: str, holes: Holes, field: str) -> str:
    """Compile MJML, and put back what it should not see."""
    try:
        html = mrml.to_html(document, render_options=_OPTIONS).content
    except OSError as error:  # what mrml raises for documents that it can't read
        message = str(error)
        place = re.search(r"position (\d+):", message)
        if place and field == "mjml":
            line = document.count("\n", 0, int(place[1])) + 1
            message = _("line %(line)d: %(message)s") % {"line": line, "message": message}
        raise ContentError(field, _("This is not valid MJML: %s") % message) from error
    return holes.fill(html)


def _words(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [
            word
            for name, item in value.items()
            if name not in ("kind", "align", "items")
            for word in _words(item)
        ]
    if isinstance(value, list):
        return [word for item in value for word in _words(item)]
    return []


# --- Cutting --------------------------------------------------------------------------------------------------


def _cut(source: str, field: str) -> Layout:
    pieces = regions(source)
    links.check_authored(pieces, field)
    numbers: dict[str, int] = {}
    html: Parts = []
    leads = set()
    for place, (piece, is_liquid) in enumerate(pieces):
        if is_liquid:
            number = numbers.setdefault(piece, len(numbers))
            if place and links.LEADS.search(pieces[place - 1][0]):
                leads.add(number)
            html.append(number)
        elif piece:
            html.append(piece)
    holes = Holes(source)
    words = {number: holes.keep("") for number in numbers.values()}
    by_word = {word: number for number, word in words.items()}
    plain = text.from_html("".join(words[part] if isinstance(part, int) else part for part in html))
    parts: Parts = []
    since = 0
    for found in holes.word.finditer(plain):
        parts += [plain[since : found.start()], by_word[found[0]]]
        since = found.end()
    parts.append(plain[since:])
    digest = hashlib.sha256(msgspec.json.encode((html, parts, list(numbers)))).hexdigest()[:32]
    return Layout(digest, html, [part for part in parts if part != ""], list(numbers), frozenset(leads))


def regions(source: str) -> list[tuple[str, bool]]:
    """Cut Liquid into texts and what has to be filled in (True): outputs, and blocks from their tag to its end.

    Where a tag changes what later ones see, all from there on is one piece.
    """
    marks = list(LIQUID.finditer(source))
    ends = {mark[1][3:] for mark in marks if (mark[1] or "").startswith("end")}
    pieces: list[tuple[str, bool]] = []
    since = begin = depth = 0
    inside = ""
    for mark in marks:
        name = mark[1] or ""
        if name in _KEEPING and not inside:
            begin = mark.start() if not depth else begin
            return [
                *pieces,
                (source[since:begin], False),
                (source[begin : marks[-1].end()], True),
                (source[marks[-1].end() :], False),
            ]
        if inside:
            if name != f"end{inside}":
                continue
            inside = ""
        if not depth:
            begin = mark.start()
        if name in ("raw", "comment"):
            inside = name
        if name in ends:
            depth += 1
        elif name.startswith("end"):
            depth -= 1
        if depth <= 0:
            depth = 0
            pieces += [(source[since:begin], False), (source[begin : mark.end()], True)]
            since = mark.end()
    return [*pieces, (source[since:], False)]
