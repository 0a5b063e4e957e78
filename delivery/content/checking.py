"""Whether authored content is fit to be sent."""

from collections.abc import Mapping
from typing import Any

import msgspec

from delivery.content import compiled, snippets


def problems(config: type[msgspec.Struct], content: Mapping[str, Any]) -> list[compiled.ContentError]:
    """Return everything that is wrong with authored `content`, at most one problem per field.

    One query if the content names snippets, else none.
    """
    found = compiled.problems(config, content)
    told = {problem.field for problem in found}
    for problem in snippets.problems(content):
        if problem.field not in told:
            found.append(problem)
            told.add(problem.field)
    return found
