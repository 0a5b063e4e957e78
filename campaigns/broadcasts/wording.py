"""What in a message's own words deserves a second look before many people get it: links, names, shouting."""

import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from delivery.content.people import FIELDS, texts

# Words that filters and people take for spam, by language; a hint for the writer, never a reason not to send. Chosen
# from those that the public rule sets of SpamAssassin and Polish and Arabic lists name most.
SPAM_WORDS = {
    "en": ("100% free", "act now", "cash bonus", "click here", "double your", "earn money", "free money",
           "guaranteed", "limited time", "no obligation", "risk-free", "urgent", "winner", "you have been selected"),
    "pl": ("100% za darmo", "bez ryzyka", "gwarancja", "kliknij tutaj", "natychmiast", "pilne", "szybki zysk",
           "tylko dziś", "wygrałeś", "zarabiaj", "za darmo"),
    "ar": ("اربح", "اضغط هنا", "بدون مخاطرة", "ربح سريع", "عاجل", "فرصة لا تعوض", "لقد فزت", "مجانا", "مجاناً", "مضمون"),
}  # fmt: skip
_URL = re.compile(r"""(?:https?:)?//[^\s"'<>{}]+""", re.IGNORECASE)
_NAMED = re.compile(r"\{\{-?\s*profile\.((?:attributes\.)?[a-z_][a-z0-9_]*)\s*([^}]*?)-?\}\}")
_LINKS = frozenset({"url", "link", "image", "icon", "badge"})


def spam_words(contents: Iterable[Any]) -> list[str]:
    """The words of the lists that occur, each once; capitals make no difference."""
    text = "\n".join(each.casefold() for content in contents for each in texts(content))
    found = [word for words in SPAM_WORDS.values() for word in words if _occurs(word.casefold(), text)]
    return sorted(set(found))


def _occurs(word: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None


def links(contents: Iterable[Any]) -> tuple[list[str], list[str]]:
    """Links that can't work, and those that lead to other hosts or are not known before a person's data is in."""
    broken, elsewhere = [], []
    for link in dict.fromkeys(found for content in contents for found in _links(content)):
        if "{{" in link or "{%" in link:
            elsewhere.append(link)
        elif not _well_formed(link):
            broken.append(link)
        elif not link.startswith("/") or link.startswith("//"):
            elsewhere.append(link)
    return broken, elsewhere


def _links(content: Any, key: str = "") -> Iterator[str]:
    if isinstance(content, str):
        if key in _LINKS:
            if content.strip():
                yield content.strip()
        else:
            yield from _URL.findall(content)
    elif isinstance(content, dict):
        for name, value in content.items():
            yield from _links(value, name)
    elif isinstance(content, list):
        for value in content:
            yield from _links(value, key)


def _well_formed(link: str) -> bool:
    if link.startswith("/") and not link.startswith("//"):
        return not any(character.isspace() for character in link)
    try:
        parts = urlsplit(link)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        return False
    named = "." in host.strip(".") or host == "localhost" or ":" in host
    return parts.scheme in ("http", "https") and named and not any(character.isspace() for character in link)


def without_default(contents: Iterable[Any]) -> list[str]:
    """What the texts say about people that has no default for those of whom it is not known, such as "first_name"."""
    found = []
    for content in contents:
        for text in texts(content):
            for name, filters in _NAMED.findall(text):
                known = name.startswith("attributes.") or name in FIELDS
                if known and name != "attributes" and "default" not in filters:
                    found.append(name)
    return list(dict.fromkeys(found))
