"""Authored words as HTML, with their Liquid left in place."""

import re
from functools import cache
from html import escape

from markdown_it import MarkdownIt

from delivery.email.holes import Holes

_ALONE = re.compile(r"<p>([^<]*)</p>\n?")


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False, "breaks": True}).disable(["image", "code", "fence"])


def plain(text: str) -> str:
    """Return `text` escaped for HTML texts and attributes; line breaks stay characters."""
    holes = Holes(text)
    return holes.fill(escape(holes.keep_liquid(text)))


def markdown(text: str, link_style: str = "") -> str:
    """Return Markdown as HTML. Markup in it is shown, not followed; a tag of Liquid in a paragraph of its own gets
    no paragraph, so that it can enclose others."""
    holes = Holes(text)
    html = _markdown().render(holes.keep_liquid(text))

    def unwrapped(found: re.Match[str]) -> str:
        words = found[1].split()
        alone = all(holes.word.fullmatch(word) and holes.piece(word).startswith("{%") for word in words)
        return "".join(words) if words and alone else found[0]

    html = _ALONE.sub(unwrapped, html)
    if link_style:
        html = html.replace("<a href=", f'<a style="{escape(link_style)}" href=')
    return holes.fill(html)
