"""The plain-text part of an email, made of its HTML."""

import re
from html import unescape
from html.parser import HTMLParser

_SILENT = {"head", "style", "script", "title", "noscript", "template"}
_BLOCKS = {
    *(
        "p",
        "div",
        "table",
        "tr",
        "ul",
        "ol",
        "blockquote",
        "section",
        "article",
        "header",
        "footer",
        "center",
    ),
    *("h1", "h2", "h3", "h4", "h5", "h6", "pre", "hr", "address"),
}
_APART = {"p", "ul", "ol", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "pre"}
_VOID = {"br", "img", "hr", "input", "meta", "link", "col", "area", "source", "wbr"}
_AT_ENDS, _EMPTY, _RUNS = re.compile(r" ?\n ?"), re.compile(r"\n{3,}"), re.compile(r" {2,}")
_SPACES = re.compile(r"[ \t\r\n\f\xa0]+")


def from_html(html: str) -> str:
    """Return what `html` says, with links as "words (address)"; what is hidden from readers is left out."""
    return tidy(_read(html))


def from_value(value: str) -> str:
    """Return the text of a filled-in piece of HTML: mostly an escaped value, sometimes markup."""
    return _read(value) if "<" in value else unescape(value)


def tidy(text: str) -> str:
    """Return text without spaces and empty lines that nobody needs."""
    return _EMPTY.sub("\n\n", _AT_ENDS.sub("\n", text)).strip()


def _read(html: str) -> str:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.text()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._out: list[str] = []
        self._hidden = 0  # how many open elements hide what is in them
        self._open: list[tuple[str, bool]] = []
        self._links: list[tuple[str, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        hides = tag in _SILENT or "display:none" in (given.get("style") or "").replace(" ", "")
        if tag not in _VOID:
            self._open.append((tag, hides))
            self._hidden += hides
        if self._hidden:
            return
        if tag == "br":
            self._out.append("\n")
        elif tag == "li":
            self._out.append("\n- ")
        elif tag == "img":
            self._out.append(given.get("alt") or "")
        elif tag == "hr":
            self._out.append("\n\n---\n\n")
        elif tag in ("td", "th"):
            self._out.append(" ")
        elif tag in _BLOCKS:
            self._out.append("\n\n" if tag in _APART else "\n")
        elif tag == "a":
            self._links.append((given.get("href") or "", len(self._out)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID or tag not in [name for name, _hides in self._open]:
            return
        silent = bool(self._hidden)
        while self._open:  # what was left open inside ends with it
            name, hides = self._open.pop()
            self._hidden -= hides
            if name == tag:
                break
        if silent:
            return
        if tag == "a":
            self._end_link()
        elif tag in _BLOCKS:
            self._out.append("\n\n" if tag in _APART else "\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._out.append(_SPACES.sub(" ", data))

    def _end_link(self) -> None:
        if not self._links:
            return
        href, since = self._links.pop()
        words = "".join(self._out[since:]).strip()
        shown = href.removeprefix("mailto:").removeprefix("tel:")
        if href and not href.startswith("#") and words != shown:
            self._out.append(f" ({shown})" if words else shown)

    def text(self) -> str:
        """All that was read, untidied; a piece of a layout may end before its last link does."""
        while self._links:
            self._end_link()
        return _RUNS.sub(" ", "".join(self._out))
