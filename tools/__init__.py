"""Additional commands, run as `python -m tools.NAME`. No other package imports them."""
