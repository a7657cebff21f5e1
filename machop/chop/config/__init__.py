"""Reads configuration: TOML files and the command line, as typed options."""

from chop.config.options import RunOptions
from chop.config.run_config import RunConfig, dump_toml, load_run_config
from chop.config.toml_document import TomlDocument

__all__ = ["RunConfig", "RunOptions", "TomlDocument", "dump_toml", "load_run_config"]
