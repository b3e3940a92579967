"""Measures event loops side by side; see README.md in this folder.

`python -m benchmarks` runs rows (small programs, grouped by concept in one file each) on several
loops.  The pieces, from the bottom: registry.py says what a row is, loops.py how each loop is made,
worker.py measures one row on one loop in its own process, runner.py orders those processes into
rounds, report.py and plot.py turn the samples into a table and a picture.  For the network rows
servers.py has the servers, load.py runs them under load, compiled.py makes the programs in C.
"""
