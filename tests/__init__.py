"""Tests; `check` is the checker of shapes and types while testing: an int passes for a float."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
