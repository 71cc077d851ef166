"""Commands around the pipeline, run as `python -m tools.NAME`; no other package imports them."""
