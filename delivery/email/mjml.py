"""Blocks as MJML, in the brand's looks."""

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from delivery.content.brand import NETWORKS, Brand
from delivery.email import content, markup
from delivery.email.holes import Holes
from delivery.preferences import colours

WIDTH = 600  # pixels
_SIZES = {1: 28, 2: 22, 3: 18}
_DARK_SURFACE, _DARK_TEXT = "#17181c", "#f1f2f4"

FOOTER_LINKS = (
    '<a href="{{ unsubscribe_url }}" style="color:inherit">{{ email_words.unsubscribe }}</a> · '
    '<a href="{{ preferences_url }}" style="color:inherit">{{ email_words.preferences }}</a>'
)
# The catalogue says title, link and image; shops' own events often say name, url and image_url.
_PRODUCT = (
    "{%% for item in %(items)s limit: %(limit)d %%}"
    '<table role="presentation" width="100%%" cellpadding="0" cellspacing="0" style="margin:0 0 16px"><tr>'
    '{%% if item.image or item.image_url %%}<td width="112" valign="top" style="padding-inline-end:16px">'
    '<img src="{{ item.image | default: item.image_url }}" width="96" alt=""'
    ' style="display:block;width:96px;border-radius:6px"></td>'
    "{%% endif %%}"
    '<td valign="top"><strong>{%% if item.link or item.url %%}<a href="{{ item.link | default: item.url }}"'
    ' style="%(link)s">%(name)s</a>'
    "{%% else %%}%(name)s{%% endif %%}</strong>%(price)s%(button)s</td></tr></table>{%% endfor %%}"
)


def document(blocks: Sequence[Any], brand: Brand, holes: Holes, preheader: str, direction: str) -> str:
    """Return a whole MJML document; what must come through untouched is in `holes`."""
    body = "".join(_section(block, brand, holes, direction) for block in blocks)
    return (
        f'<mjml lang="{holes.keep("{{ email_locale }}")}" dir="{direction}">'
        f"{head(brand, holes, preheader, direction)}"
        f'<mj-body width="{WIDTH}px" background-color="{brand.background}" css-class="nudge-page">'
        f"{body}</mj-body></mjml>"
    )


def head(brand: Brand, holes: Holes, preheader: str, direction: str) -> str:
    """Return the mj-head: looks, dark mode and what stands beside the subject."""
    start = "right" if direction == "rtl" else "left"
    preview = f"<mj-preview>{holes.keep(markup.plain(preheader))}</mj-preview>" if preheader else ""
    font = escape(brand.body_font)
    return (
        f"<mj-head>{preview}<mj-attributes>"
        f'<mj-all font-family="{font}" />'
        f'<mj-text font-size="16px" line-height="1.6" color="{brand.text_colour}" align="{start}" padding="8px 24px" />'
        f'<mj-section direction="{direction}" background-color="{brand.surface}" padding="0" />'
        f'<mj-button background-color="{brand.accent}" color="{colours.ink(brand.accent)}" font-size="16px"'
        ' font-weight="600" border-radius="6px" inner-padding="12px 24px" padding="12px 24px" />'
        '<mj-image padding="8px 24px" /></mj-attributes>'
        f"{dark_mode(brand, holes)}</mj-head>"
    )


def dark_mode(brand: Brand, holes: Holes) -> str:
    """Return what tells mail programs that the email has a dark look of its own."""
    style = (
        "@media (prefers-color-scheme: dark) {"
        " .nudge-page, .nudge-page > div { background-color: #0d0e10 !important; }"
        " .nudge-surface, .nudge-surface > table, .nudge-surface td"
        f" {{ background-color: {_DARK_SURFACE} !important; }}"
        f" .nudge-text > div, .nudge-text p, .nudge-text li {{ color: {_DARK_TEXT} !important; }}"
        f" .nudge-text a {{ color: {colours.on_dark(brand.accent)} !important; }}"
        f" .nudge-button td, .nudge-button a {{ background-color: {colours.on_dark(brand.accent)} !important;"
        f" color: {colours.ink(colours.on_dark(brand.accent))} !important; }} }}"
    )
    metas = '<meta name="color-scheme" content="light dark"><meta name="supported-color-schemes" content="light dark">'
    return f"<mj-raw>{holes.keep(metas)}</mj-raw><mj-raw>{holes.keep(f'<style>{style}</style>')}</mj-raw>"


def footer(brand: Brand, holes: Holes, text: str = "") -> str:
    """Return a section with who sent it and the person's own links."""
    who = "<br>".join(
        escape(line) for line in (brand.name, *brand.postal_address.splitlines()) if line.strip()
    )
    words = markup.markdown(text) if text else ""
    inner = holes.keep(f"{words}{who}<br>{FOOTER_LINKS}")
    return (
        '<mj-section padding="16px 0" background-color="transparent" css-class="nudge-footer"><mj-column>'
        f'<mj-text align="center" font-size="12px" color="#5b6170" css-class="nudge-text">{inner}</mj-text>'
        "</mj-column></mj-section>"
    )


def _section(block: Any, brand: Brand, holes: Holes, direction: str) -> str:
    if isinstance(block, content.Footer):
        return footer(brand, holes, block.text)
    if isinstance(block, content.Columns):
        widths = (block.first, 100 - block.first)
        columns = "".join(
            f'<mj-column width="{width}%" vertical-align="top">{_all(side, brand, holes, direction)}</mj-column>'
            for width, side in zip(widths, (block.left, block.right), strict=True)
        )
    else:
        columns = f"<mj-column>{_all([block], brand, holes, direction)}</mj-column>"
    return f'<mj-section css-class="nudge-surface">{columns}</mj-section>'


def _all(blocks: Sequence[Any], brand: Brand, holes: Holes, direction: str) -> str:
    return "".join(_PIECES[type(block)](block, brand, holes, direction) for block in blocks)


def _align(wanted: str, direction: str) -> str:
    if wanted == "center":
        return "center"
    return "left" if (wanted == "start") == (direction == "ltr") else "right"


def _text(inner: str, holes: Holes, align: str, more: str = "") -> str:
    return f'<mj-text align="{align}" css-class="nudge-text"{more}>{holes.keep(inner)}</mj-text>'


def _heading(block: content.Heading, brand: Brand, holes: Holes, direction: str) -> str:
    inner = f'<h{block.level} style="margin:0;font:inherit">{markup.plain(block.text)}</h{block.level}>'
    look = (
        f' font-size="{_SIZES[block.level]}px" font-weight="700" line-height="1.3"'
        f' font-family="{escape(brand.heading_font)}"'
    )
    return _text(inner, holes, _align(block.align, direction), look)


def _paragraphs(block: content.Paragraphs, brand: Brand, holes: Holes, direction: str) -> str:
    return _text(markup.markdown(block.text, _link(brand)), holes, _align(block.align, direction))


def _image(block: content.Image, brand: Brand, holes: Holes, direction: str) -> str:
    if not block.src:
        return ""
    return _picture(block.src, block.alt, block.href, block.width, _align(block.align, direction), holes)


def _picture(src: str, alt: str, href: str, width: int, align: str, holes: Holes) -> str:
    link = f' href="{holes.keep(markup.plain(href))}"' if href else ""
    wide = f' width="{width}px"' if width else ""
    return (
        f'<mj-image src="{holes.keep(markup.plain(src))}" alt="{holes.keep(markup.plain(alt))}"'
        f' align="{align}"{link}{wide} />'
    )


def _button(block: content.Button, brand: Brand, holes: Holes, direction: str) -> str:
    wide = ' width="100%"' if block.wide else ""
    return (
        f'<mj-button href="{holes.keep(markup.plain(block.href))}" align="{_align(block.align, direction)}"'
        f' css-class="nudge-button"{wide}>{holes.keep(markup.plain(block.label))}</mj-button>'
    )


def _products(block: content.Products, brand: Brand, holes: Holes, direction: str) -> str:
    href = "{{ item.link | default: item.url }}"
    button = f'<br><a href="{href}" style="{_link(brand)}">{markup.plain(block.label)}</a>'
    loop = _PRODUCT % {
        "items": block.items,
        "limit": block.limit,
        "link": _link(brand),
        "name": "{{ item.title | default: item.name }}",
        "price": "{% if item.price %}<br>{{ item.price | price: item.currency }}{% endif %}"
        if block.price
        else "",
        "button": f"{{% if item.link or item.url %}}{button}{{% endif %}}" if block.label else "",
    }
    return _text(loop, holes, _align("start", direction))


def _divider(block: content.Divider, brand: Brand, holes: Holes, direction: str) -> str:
    return '<mj-divider border-width="1px" border-color="#d7d9e0" padding="16px 24px" />'


def _spacer(block: content.Spacer, brand: Brand, holes: Holes, direction: str) -> str:
    return f'<mj-spacer height="{block.height}px" />'


def _logo(block: content.Logo, brand: Brand, holes: Holes, direction: str) -> str:
    align = _align(block.align, direction)
    if brand.logo:
        return _picture(brand.logo, brand.name, brand.website, brand.logo_width, align, holes)
    return _text(f"<strong>{escape(brand.name)}</strong>", holes, align) if brand.name else ""


def _social(block: content.Social, brand: Brand, holes: Holes, direction: str) -> str:
    # Words, as pictures of other companies' signs would have to be fetched from somewhere.
    links = " · ".join(
        f'<a href="{escape(url)}" style="{_link(brand)}">{NETWORKS[name]}</a>'
        for name, url in brand.social.items()
    )
    return _text(links, holes, _align(block.align, direction)) if links else ""


def _html(block: content.Html, brand: Brand, holes: Holes, direction: str) -> str:
    return _text(block.html, holes, _align("start", direction))


def _link(brand: Brand) -> str:
    return f"color:{brand.accent}"


_PIECES: dict[type, Callable[[Any, Brand, Holes, str], str]] = {
    content.Heading: _heading,
    content.Paragraphs: _paragraphs,
    content.Image: _image,
    content.Button: _button,
    content.Products: _products,
    content.Divider: _divider,
    content.Spacer: _spacer,
    content.Logo: _logo,
    content.Social: _social,
    content.Html: _html,
}
