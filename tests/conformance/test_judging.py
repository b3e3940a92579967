"""The conformance run notices what it is for: each kind of fault is shown to it once.

The runner is tried on a small module of seeded tests in the place of one of CPython's, on stock
asyncio so that it needs nothing of hotloop's; the rules are tried on results made up here.
"""

import dataclasses

import pytest

from . import judging, plan
from .exclusions import EXCLUSIONS, REASONS, THIS_VERSION, Exclusion, short_id
from .runner import Results, Runner

pytestmark = pytest.mark.timeout(60)

SEEDED = """
import os, unittest

class Seeded(unittest.TestCase):
    def test_1_passes(self):
        pass

    def test_2_fails(self):
        self.assertEqual("what it is", "what it should be")

    def test_3_kills_the_process(self):
        os.abort()

    @unittest.skip("because")
    def test_4_is_skipped(self):
        pass

    def test_5_fails_in_a_part(self):
        with self.subTest(part=2):
            self.fail("in the part")

    def test_6_passes(self):
        pass
"""


def job(mode="loop", uses=""):
    """Return a job that expects hotloop's things to be used as told."""
    return plan.Module("seeded", uses=uses).job(mode, "")


def results(uses=None, **outcomes):
    """Return results with the outcomes given by test name."""
    lines = {
        f"seeded.Seeded.{name}": {"id": name, "outcome": outcome, "detail": f"{name}'s detail"}
        for name, outcome in outcomes.items()
    }
    return Results(lines, uses or {})


def judge(own, stock=None, listed=(), excluded=None, ids=None, **job_options):
    """Judge and return the report; the ids are those of the results if none are given."""
    ids = ids or [*own.outcomes, *(excluded.outcomes if excluded else ())]
    entry = Exclusion("*", REASONS[0], "its detail")
    return judging.judge(
        job(**job_options),
        ids,
        {f"seeded.Seeded.{name}": entry for name in listed},
        own,
        excluded or Results(),
        stock or Results(),
    )


def headlines(report):
    """Return the headlines of a report's problems."""
    return [headline for headline, _ in report.problems]


def test_a_module_that_passes_has_no_problem():
    report = judge(results(a="passed", b="passed"))
    assert headlines(report) == []
    assert (report.counts["run"], report.counts["passed"], report.counts["failed"]) == (2, 2, 0)


@pytest.mark.parametrize("outcome", ["failed", "crashed", "skipped"])
def test_what_stock_passes_must_pass(outcome):
    report = judge(results(a=outcome), stock=results(a="passed"))
    assert headlines(report) == [f"seeded.Seeded.a {outcome}, stock passed"]
    assert report.counts["failed"] == 1
    assert "a's detail" in report.explain()


@pytest.mark.parametrize("outcome", ["failed", "crashed"])
@pytest.mark.parametrize("on_stock", ["failed", "crashed", "skipped"])
def test_what_stock_does_not_pass_is_not_held_against_hotloop(outcome, on_stock):
    report = judge(results(a=outcome), stock=results(a=on_stock))
    assert headlines(report) == []
    assert (report.counts["as stock"], report.counts["failed"]) == (1, 0)
    assert judging.table([report])[-1] == "neither on stock asyncio here: seeded.Seeded.a"


def test_a_skip_is_fine_if_stock_skips_too():
    report = judge(results(a="skipped"), stock=results(a="skipped"))
    assert headlines(report) == []
    assert (report.counts["run"], report.counts["skipped"]) == (0, 1)


def test_a_failure_that_stock_did_not_confirm_counts():
    assert headlines(judge(results(a="failed"))) == ["seeded.Seeded.a failed, stock None"]


def test_an_id_that_was_not_run_is_a_problem():
    report = judge(results(a="passed"), ids=["seeded.Seeded.a", "seeded.Seeded.b"])
    assert headlines(report) == ["1 ids were not run, first seeded.Seeded.b"]


def test_a_failure_outside_of_any_test_is_a_problem():
    report = judge(results(setUpClass="failed", a="passed"), ids=["seeded.Seeded.a"])
    assert headlines(report) == ["seeded.Seeded.setUpClass failed"]


def test_a_listed_test_that_fails_is_counted_as_excluded():
    report = judge(Results(), listed=["a"], excluded=results(a="failed"))
    assert headlines(report) == []
    assert (report.counts["run"], report.counts["excluded"]) == (0, 1)


def test_a_listed_test_that_passes_is_a_problem():
    report = judge(Results(), listed=["a"], excluded=results(a="passed"))
    assert headlines(report) == [f"seeded.Seeded.a passes but is listed: {REASONS[0]}"]


def test_a_module_that_used_nothing_of_hotloops_is_a_problem():
    used = {"Loop": 3, "Task": 0, "Future": 2, "steps": 7}
    report = judge(results(used, a="passed"), uses="Loop Task Future steps")
    assert headlines(report) == [f"no use of hotloop's Task was seen: {used}"]


def test_a_release_build_proves_the_loop_only():
    uses = "Loop Task Future steps"
    assert headlines(judge(results({"Loop": 1}, a="passed"), uses=uses)) == []
    assert len(headlines(judge(results({"Loop": 0}, a="passed"), uses=uses))) == 1


def test_a_mode_is_not_asked_for_what_it_does_not_replace():
    used = {"Loop": 0, "Task": 1, "Future": 1, "steps": 1}
    assert headlines(judge(results(used, a="passed"), mode="types", uses="Loop Task")) == []


def test_a_reason_outside_of_the_closed_set_is_refused():
    with pytest.raises(ValueError, match="no reason"):
        Exclusion("*", "too hard", "detail")


def test_an_exclusion_for_a_version_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="unknown version"):
        Exclusion("*", REASONS[0], "detail", versions=("3.10",))


def test_an_exclusion_that_matches_no_test_is_a_problem():
    ids = ["seeded.Seeded.a"]
    right = Exclusion("seeded.Seeded.a", REASONS[0], "detail")
    wrong = Exclusion("seeded.Seeded.b", REASONS[0], "detail")
    elsewhere = Exclusion("other.Seeded.b", REASONS[0], "detail")
    new = Exclusion("seeded.Seeded.c", REASONS[0], "detail", may_be_absent=(THIS_VERSION,))
    found = list(judging.idle_exclusions(job(), ids, [right, wrong, elsewhere, new]))
    assert found == [("seeded.Seeded.b is listed and matches no test", "detail")]


def test_every_exclusion_is_about_a_module_of_the_plan():
    names = [short_id(module.name) + "." for module in plan.MODULES]
    for entry in EXCLUSIONS:
        assert entry.pattern.startswith(tuple(names)), entry.pattern


def test_the_table_has_a_row_per_job_and_a_sum_per_mode():
    reports = [judge(results(a="passed")), judge(results(a="passed"), mode="types")]
    rows = judging.table([*reports, reports[0]])
    assert [row.split()[0] for row in rows] == ["module", *["seeded"] * 3, "all", "all"]
    assert rows[4].split() == ["all", "hotloop's", "loop", *"2020000", "0.0"]


@pytest.fixture
def seeded(tmp_path, monkeypatch):
    """Put the module of seeded tests where children find it; return a job for all of it."""
    (tmp_path / "seeded.py").write_text(SEEDED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return dataclasses.replace(job("asyncio"), mode=plan.MODES["asyncio"])


def test_a_crash_costs_one_test_and_every_outcome_is_seen(seeded):
    with Runner([seeded]) as runner:
        report = runner.report(seeded)
    assert headlines(report) == []  # Stock asyncio is compared with itself.
    counts = report.counts
    assert (counts["passed"], counts["as stock"], counts["skipped"]) == (2, 3, 1)


def test_a_crash_is_shown_with_what_the_process_printed(seeded):
    with Runner([seeded]) as runner:
        ids = runner.expected.result()["seeded"]
        outcomes = runner.run_ids(seeded, seeded.mode, ids).outcomes
    shown = [(outcome["outcome"], outcome["detail"]) for outcome in outcomes.values()]
    assert [outcome for outcome, _ in shown] == (
        ["passed", "failed", "crashed", "skipped", "failed", "passed"]
    )
    assert "'what it is' != 'what it should be'" in shown[1][1]
    assert "exit code -6" in shown[2][1]
    assert shown[3][1] == "because"
    assert "part=2" in shown[4][1]
