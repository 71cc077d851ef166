"""Settings of every stage.

schema      dataclasses of the settings, with defaults, ranges and checks between settings
loading     loading of settings from defaults, a YAML file and `key=value` words
ranges      ranges as metadata of dataclass fields, and their check
typed_json  dataclasses that are stored as JSON and validated when they are read
"""
