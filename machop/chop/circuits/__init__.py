"""Quantised networks as integer circuits: what they compute, how wide their numbers are, and what they cost."""

from chop.circuits.facts import CircuitCosts, CircuitFacts, circuit_costs, circuit_facts
from chop.circuits.from_graph import integer_network
from chop.circuits.network import IntegerNetwork
from chop.circuits.values import Range, Values

__all__ = [
    "CircuitCosts",
    "CircuitFacts",
    "IntegerNetwork",
    "Range",
    "Values",
    "circuit_costs",
    "circuit_facts",
    "integer_network",
]
