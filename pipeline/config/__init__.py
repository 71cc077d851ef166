"""Settings of every stage.

schema      the dataclasses, with defaults, ranges, and checks of settings that depend on each other
loading     fills a dataclass from its defaults, a YAML file and `key=value` words, and checks it
ranges      ranges of numbers as metadata of fields, and the check of all of them
typed_json  dataclasses that are stored as JSON and checked when they are read
"""
