"""Reads the tables `[search]` of a TOML file as typed settings."""
