"""Runs a search: from checked settings to the best networks in its folder."""
