"""Helpers shared by the tests; nothing in here is collected as a test.

pytest puts the folder of tests/conftest.py on sys.path, so a test module writes
`from support import child` whatever the current directory is. Test modules have no package
around them: their base names must therefore differ between the folders below tests/.
"""
