"""Strategies and storages of Optuna."""
