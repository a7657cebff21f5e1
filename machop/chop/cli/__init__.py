"""The `ch` command: one module for each action, which reads options and prints results."""
