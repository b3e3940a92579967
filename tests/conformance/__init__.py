"""Runs CPython's own tests of asyncio, as installed, on hotloop's loop, Task and Future.

plan.py says what is run, exclusions.py what is left out and why; inject.py puts hotloop in the
place of asyncio's classes and child.py runs one of CPython's test modules in a process of its own;
runner.py starts these processes, judging.py turns their results into verdicts and the table.
`python -m pytest tests/conformance` runs all of it, `python -m tests.conformance` the same by hand.
"""
