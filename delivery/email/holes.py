"""Keeping what MJML and Markdown must not touch out of their sight: each piece becomes a word, and comes back later."""

import re

LIQUID = re.compile(r"\{%-?\s*([a-z#]*).*?%\}|\{\{.*?\}\}", re.DOTALL)


class Holes:
    """Words that stand for pieces of text. They are letters and digits only, so they survive anywhere."""

    def __init__(self, *sources: str):
        """Args: sources: texts that may hold none of the words."""
        self._pieces: list[str] = []
        number = 0
        while any(f"hole{number}x" in source for source in sources):
            number += 1
        self._prefix = f"hole{number}x"
        self.word = re.compile(rf"{self._prefix}(\d+)x")

    def keep(self, piece: str) -> str:
        """Return a word for `piece`."""
        self._pieces.append(piece)
        return f"{self._prefix}{len(self._pieces) - 1}x"

    def keep_liquid(self, text: str) -> str:
        """Return `text` with a word for each tag and output of Liquid."""
        return LIQUID.sub(lambda found: self.keep(found[0]), text)

    def piece(self, word: str) -> str:
        """Return what a word stands for."""
        found = self.word.fullmatch(word)
        return self._pieces[int(found[1])] if found else word

    def fill(self, text: str) -> str:
        """Return `text` with the pieces put back, also those inside of pieces."""
        while self.word.search(text):
            text = self.word.sub(lambda found: self._pieces[int(found[1])], text)
        return text
