"""The recipes of docs/selecting-the-loop.md, taken from the page: a test runs what it says."""

import re
import shlex

from users.requirements import ROOT

PAGE = (ROOT / "docs" / "selecting-the-loop.md").read_text(encoding="utf-8")


def paragraph(name):
    """What stands from `**name` up to the next bold word or heading, on one line without breaks."""
    found = re.search(rf"^\*\*{re.escape(name)}.*?(?=^\*\*|^#|\Z)", PAGE, re.S | re.M)
    assert found is not None, f"no paragraph **{name}"
    return found[0]


def code(name):
    """The Python block of a paragraph."""
    found = re.search(r"^```python\n(.*?)^```$", paragraph(name), re.S | re.M)
    assert found is not None, f"no code in the paragraph **{name}"
    return found[1]


def inline(name, beginning):
    """The piece in backquotes in a paragraph that begins like this."""
    text = " ".join(paragraph(name).split())
    found = re.search(rf"`({re.escape(beginning)}[^`]*)`", text)
    assert found is not None, f"no `{beginning}...` in the paragraph **{name}"
    return found[1]


def command(name, beginning):
    """The words of a command in a paragraph."""
    return shlex.split(inline(name, beginning))
