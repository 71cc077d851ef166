"""Tests of all packages.

The decorator `check` verifies types at run time and accepts an int as a float.
"""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
