"""Translations, compiled when a process starts: git keeps what people write, Django reads what is made of it."""

import os
import tempfile
from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po


def compile_all(source: Path, target: Path) -> int:
    """Compile each `<language>/LC_MESSAGES/*.po` of `source` that has changed into `target`; return how many.

    Any number of processes may do so at once: a finished file takes the place of the old one in one step, with the
    time of its source, by which the next one sees that there is nothing to do.
    """
    count = 0
    for written in sorted(source.glob("*/LC_MESSAGES/*.po")):
        made = target / written.relative_to(source).with_suffix(".mo")
        stamp = written.stat().st_mtime_ns
        if made.exists() and made.stat().st_mtime_ns == stamp:
            continue
        made.parent.mkdir(parents=True, exist_ok=True)
        with written.open("rb") as words:
            catalogue = read_po(words, locale=written.parts[-3])
        with tempfile.NamedTemporaryFile(dir=made.parent, delete=False) as file:
            write_mo(file, catalogue)
        os.utime(file.name, ns=(stamp, stamp))
        Path(file.name).replace(made)
        count += 1
    return count
