"""The lab's search, its model and its data, as the tests of searches have them."""

from tests.actions.search.conftest import jets, jsc_tiny, lab

__all__ = ["jets", "jsc_tiny", "lab"]
