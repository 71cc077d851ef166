"""Settings of every stage.

schema   the dataclasses, with defaults, and how YAML and `key=value` words fill them
"""
