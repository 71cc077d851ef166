"""Tests of all packages; `check` verifies types at run time and accepts an int as a float."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
