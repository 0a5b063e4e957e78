"""Makes the SDK small when it is first served, so that there is no build step and one file to read and change.

`rjsmin` takes comments and white space out. `shorten` then gives identifiers short names. It is no general minifier:
it relies on how the SDK's own files are written (single-quoted strings, no template literals, no name that is both
declared here and used as a global of the browser), and the browser tests run what it makes.
"""

import re
import string
from collections import Counter
from itertools import product

import rjsmin

_WORD = r"[A-Za-z_$][\w$]*"
# A string, or a regular expression: a slash where a value must begin.
_LITERAL = re.compile(
    r"'(?:[^'\\\n]|\\.)*'|(?<=[(=,:&|!?])/(?:\[(?:[^\]\\\n]|\\.)*\]|[^/\\\n]|\\.)+/[gimsuy]*"
)
_DECLARED = re.compile(rf"\b(?:const|let|function)\s+({_WORD})")
_KEYWORDS = {"as", "do", "if", "in", "of"}


def script(source: str) -> str:
    """Return the same program in fewer bytes."""
    return shorten(rjsmin.jsmin(source))


def shorten(code: str) -> str:
    """Rename what `code` declares, each name alike everywhere in the file; strings and properties stay.

    Args:
        code: without comments.

    Raises:
        ValueError: it holds a template literal, whose names can't be told from text.
    """
    bare = _LITERAL.sub("''", code)
    if "`" in bare:
        raise ValueError("Template literals are not understood here.")
    counts = Counter(re.findall(_WORD, bare))
    names = {name for name in _DECLARED.findall(bare) if len(name) > 2 and not _is_property(name, bare)}
    letters = string.ascii_letters
    free = (
        short
        for size in (1, 2)
        for short in map("".join, product(letters, repeat=size))
        if short not in counts and short not in _KEYWORDS
    )
    new = dict(zip(sorted(names, key=lambda name: (-counts[name], name)), free, strict=False))

    def renamed(text: str) -> str:
        return re.sub(_WORD, lambda word: new.get(word[0], word[0]), text)

    parts, place = [], 0
    for literal in _LITERAL.finditer(code):
        parts += [renamed(code[place : literal.start()]), literal[0]]
        place = literal.end()
    return "".join([*parts, renamed(code[place:])])


def _is_property(name: str, code: str) -> bool:
    """Whether `name` may stand for a property somewhere: after a dot, before a colon, alone between braces."""
    word = re.escape(name)
    return bool(re.search(rf"(?<!\.\.)\.{word}\b|[{{,]\s*{word}\s*(?=[,}}:])|\b{word}\s*:", code))
