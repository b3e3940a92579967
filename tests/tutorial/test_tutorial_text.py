"""docs/tutorial.md says what is: every program is in it, and quoted output is the real one."""

import re

import pytest
from programs import EXPECTED, FOLDER

TEXT = (FOLDER.parent / "docs" / "tutorial.md").read_text()
SESSIONS = re.findall(
    r"^```console\n\$ python -m hotloop examples/(\w+)\.py\n(.*?)^```$", TEXT, re.M | re.S
)


@pytest.mark.parametrize("program", EXPECTED)
def test_the_text_names_every_program(program):
    assert f"`{program}.py`" in TEXT


def test_every_console_block_was_understood():
    assert len(SESSIONS) == TEXT.count("```console") > 0


@pytest.mark.parametrize(("program", "output"), SESSIONS, ids=[name for name, _ in SESSIONS])
def test_quoted_output_is_what_the_program_prints(program, output):
    assert output == EXPECTED[program][1]
