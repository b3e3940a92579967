"""What hotloop does differently from asyncio: a decorator for the tests, a page for the users.

Every difference that is meant has exactly one test, decorated with known_difference(topic), whose
docstring says in sentences for users what differs.  The page docs/known-differences.md is made of
those docstrings by

    python -m tests.support.known_differences > docs/known-differences.md

which reads the test files without running them.  A difference without such a test is a bug.
"""

import ast
import inspect
import pathlib

TESTS = pathlib.Path(__file__).resolve().parent.parent
PAGE = TESTS.parent / "docs" / "known-differences.md"

HEAD = """\
# Known differences from asyncio

hotloop means to behave exactly as the asyncio of the Python it runs on. Where it does not, the
difference is on this page and has a test that shows it on both sides; anything else is a bug,
please report it.

This page is made from those tests. To change it, change them, then run
`python -m tests.support.known_differences > docs/known-differences.md`.
"""

# The order of the topics on the page; the differences in each come in the order of their tests.
TOPICS = (
    "Scheduling",
    "Descriptors and signals",
    "Sockets",
    "Processes",
    "What objects look like",
    "Errors",
)


def known_difference(topic):
    """Mark a test as the proof of a difference that its docstring describes under this topic."""
    assert topic in TOPICS, topic

    def mark(test):
        assert test.__doc__, f"{test.__name__} needs a docstring for users"
        return test

    return mark


def topic_of(function):
    """Return the topic a test function is decorated with, or None if it is an ordinary test."""
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "known_difference":
            return decorator.args[0].value
    return None


def differences():
    """Map each topic to the docstrings of its tests, in the order of files and lines."""
    found = {topic: [] for topic in TOPICS}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and (topic := topic_of(node)):
                found[topic].append(inspect.cleandoc(ast.get_docstring(node)))
    return found


def item(text):
    """Return a docstring as an item of a Markdown list."""
    first, *rest = text.splitlines()
    return "\n".join([f"- {first}", *(f"  {line}".rstrip() for line in rest)])


def page():
    """Return the text of the page."""
    sections = [HEAD]
    for topic, texts in differences().items():
        if texts:
            sections.append("\n\n".join([f"## {topic}", "\n".join(map(item, texts))]) + "\n")
    return "\n".join(sections)


if __name__ == "__main__":
    print(page(), end="")
