"""Optuna's samplers as strategies, and storages of Optuna."""
