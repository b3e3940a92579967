"""What the documentation says is so: its code runs, its links lead somewhere, its tables are true.

A Python block with `<!-- runnable -->` on the line before it runs in a process of its own, with
warnings as errors; see docs/development.md for the variants. Other blocks need what is not
installed here (servers, plugins) and must compile.
"""

import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest
from support import child
from test_benchmarks import make_results
from test_layers import LAYERS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks" / "README.md"]
)
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

BLOCK = re.compile(r"(?:<!-- (runnable[^>]*?) -->\n)?```python\n(.*?)```", re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def text_of(page):
    """The text of a page of the documentation."""
    return (ROOT / page).read_text(encoding="utf-8")


def python_blocks():
    """One parameter (marker or None, code) for each Python block of the documentation."""
    for page in PAGES:
        text = text_of(page)
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start(2))
            yield pytest.param(*match.groups(), id=f"{page}:{line}")


def marks_for(marker):
    """The skip of a block that needs a newer Python than this one, if it does."""
    version = re.fullmatch(r"runnable: 3\.(\d+)", marker)
    if version is None:
        assert marker in ("runnable", "runnable: deprecated"), marker
        return []
    needed = (3, int(version[1]))
    reason = f"needs Python 3.{version[1]}: the block says so"
    return [pytest.mark.skipif(sys.version_info < needed, reason=reason)]


def runnable_blocks():
    """One parameter (marker, code) for each block that is to run."""
    for block in python_blocks():
        marker, code = block.values
        if marker is not None:
            yield pytest.param(marker, code, id=block.id, marks=marks_for(marker))


@pytest.mark.parametrize(("marker", "code"), list(runnable_blocks()))
@pytest.mark.timeout(60)
def test_a_runnable_block_runs(marker, code):
    warnings = "default" if marker == "runnable: deprecated" else "error"
    done = child.run("-c", code, warnings=warnings)
    assert done.returncode == 0, done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize(("marker", "code"), list(python_blocks()))
def test_every_block_is_python(marker, code):
    compile(code, "block", "exec")


def anchor_of(heading):
    """The anchor by which a link names a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links():
    """One parameter (page, target) for each link that stays in the repository."""
    for page in PAGES:
        for target in LINK.findall(FENCED.sub("", text_of(page))):
            if not re.match(r"[a-z]+:", target):
                yield pytest.param(page, target, id=f"{page}:{target}")


@pytest.mark.parametrize(("page", "target"), list(links()))
def test_a_link_leads_somewhere(page, target):
    path, _, anchor = target.partition("#")
    destination = (ROOT / page).parent / path if path else ROOT / page
    assert destination.exists()
    if anchor:
        headings = HEADING.findall(FENCED.sub("", destination.read_text(encoding="utf-8")))
        assert anchor in map(anchor_of, headings)


def readme_command(name):
    """The words of one of the README's two commands, which .ci/run finds by the same marks."""
    block = rf"^<!-- command:{name} -->\n```console\n\$ (.*)\n```$"
    (command,) = re.findall(block, README, re.MULTILINE)
    assert README.count(f"<!-- command:{name} -->") == 1
    return shlex.split(command)


def test_the_command_to_run_installs_and_runs_an_example():
    words = readme_command("run")
    assert words[words.index("install") + 1] == "."
    assert words[-4:-1] == [".venv/bin/python", "-m", "hotloop"]
    assert (ROOT / words[-1]).is_file()


def test_the_command_to_test_installs_the_extra_and_runs_the_tests():
    words = readme_command("test")
    assert words[words.index("install") + 1] == ".[test]"
    assert words[-4:] == [".venv/bin/python", "-m", "pytest", "tests"]


def test_the_versions_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pattern = re.compile(r"Programming Language :: Python :: (3\.\d+)")
    declared = [match[1] for match in map(pattern.fullmatch, project["classifiers"]) if match]
    assert re.findall(r"^\| (3\.\d+) \|", README, re.MULTILINE) == declared
    assert project["requires-python"] == f">={declared[0]}"


def test_the_newest_entry_of_the_changelog_is_this_version():
    import hotloop

    released = re.findall(r"^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$", text_of("CHANGELOG.md"), re.M)
    assert released[0] == hotloop.__version__


def test_the_build_switches_are_those_of_setup():
    known = re.findall(r"^  (HOTLOOP_\w+)=", (ROOT / "setup.py").read_text(encoding="utf-8"), re.M)
    listed = re.findall(r"^\| `(HOTLOOP_\w+)=", text_of("docs/development.md"), re.MULTILINE)
    assert listed == known != []


def test_the_layers_are_those_that_the_include_rule_has():
    core = ROOT / "src" / "core"
    listed = re.findall(r"^\| (\d) \| `(\w+)/` \|", ARCHITECTURE, re.MULTILINE)
    present = [
        (str(level), folder)
        for level, folders in enumerate(LAYERS)
        for folder in sorted(folders)
        if (core / folder).is_dir()
    ]
    assert listed == present


def names_in_architecture(pattern):
    """What stands in backquotes in docs/architecture.md and looks like this."""
    return sorted(set(re.findall(rf"`({pattern})`", ARCHITECTURE)))


@pytest.mark.parametrize("path", names_in_architecture(r"\w+/\w+\.[chpy]+"))
def test_a_file_named_in_the_architecture_is_there(path):
    assert (ROOT / "src" / "core" / path).is_file() or (ROOT / path).is_file()


@pytest.mark.parametrize("name", names_in_architecture(r"(?:hl|turn|task|outcome|run|wait)_\w+"))
def test_a_function_named_in_the_architecture_is_there(name):
    sources = [*(ROOT / "src").rglob("*.[ch]"), *(ROOT / "src").rglob("*.py")]
    assert any(re.search(rf"\b{name}\b", path.read_text(encoding="utf-8")) for path in sources)


class TestTablesOfTheReadme:
    """benchmarks.readme, which puts recorded runs between the README's marks."""

    @pytest.fixture
    def project(self, tmp_path, monkeypatch):
        """A folder with the README's marks and one recorded run, and no plot library needed."""
        from benchmarks import plot

        monkeypatch.setattr(plot, "draw", lambda results, path: path.write_text("a plot"))
        folder = tmp_path / "docs" / "benchmarks"
        folder.mkdir(parents=True)
        samples = {"call_soon_chain": {"hotloop": [1.0], "uvloop": [2.0]}}
        make_results(samples).write(folder / "cpython-3.13.json")
        (tmp_path / "README.md").write_text(README, encoding="utf-8")
        return tmp_path

    def fill(self, project):
        from benchmarks import readme

        assert readme.main(["--root", str(project)]) == 0
        return (project / "README.md").read_text(encoding="utf-8")

    def test_a_run_gives_a_table_and_two_ways_to_its_plot(self, project):
        text = self.fill(project)
        assert "### CPython 3.13.0" in text and "| call_soon_chain | " in text
        assert text.count("(docs/benchmarks/cpython-3.13.png)") == 2
        assert (project / "docs" / "benchmarks" / "cpython-3.13.png").is_file()

    def test_a_run_of_the_network_has_its_own_title_and_plot_on_top(self, project):
        samples = {"tcp_proto_1KiB_x10": {"hotloop": [1.0], "uvloop": [2.0]}}
        make_results(samples).write(project / "docs" / "benchmarks" / "network-3.13.json")
        text = self.fill(project)
        assert "### CPython 3.13.0, network" in text
        top = text.partition("<!-- plot:begin -->")[2].partition("<!-- plot:end -->")[0]
        assert top.count("![") == 2
        assert top.index("/cpython-3.13.png)") < top.index("/network-3.13.png)")

    def test_what_was_there_before_is_replaced(self, project):
        assert self.fill(project) == self.fill(project)

    def test_the_rest_of_the_page_stays(self, project):
        marks = re.compile(r"(<!-- (\w+):begin -->).*?(<!-- \2:end -->)", re.DOTALL)
        assert marks.sub(r"\1\3", self.fill(project)) == marks.sub(r"\1\3", README)

    def test_a_page_without_the_marks_is_refused(self, project):
        (project / "README.md").write_text("# hotloop\n", encoding="utf-8")
        with pytest.raises(ValueError, match="benchmarks:begin"):
            self.fill(project)
