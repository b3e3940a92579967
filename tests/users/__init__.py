"""Servers, clients and frameworks that people run loops for, started as people start them.

`python -m pytest tests/users` runs these tests; docs/development.md says what they need.
"""
