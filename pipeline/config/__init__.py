"""Settings of every stage.

schema      dataclasses of the settings, with defaults, ranges and consistency checks
loading     loading of settings from defaults, a YAML file and `key=value` words
ranges      ranges of dataclass fields, declared in the metadata of the fields
text_yaml   reader of YAML files that contain only names and other text
typed_json  dataclasses that are stored as JSON and validated when they are read
"""
