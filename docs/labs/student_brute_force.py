"""The lab's task 3 as a student may write it: brute force as a new strategy, loaded with --plugin."""

from itertools import islice, product

from chop.actions.search import STRATEGIES, SearchStrategyBase


@STRATEGIES.register("student_brute_force")
class StudentBruteForce(SearchStrategyBase):
    """Every combination of choices once, the last key turning fastest."""

    needs_budget = False

    def __init__(self, context, options=None):
        super().__init__(context, options)
        parameters = self.space.parameters
        indexes = product(*(range(len(choices)) for choices in parameters.values()))
        self.points = (dict(zip(parameters, combination, strict=True)) for combination in indexes)

    def ask(self, n):
        return list(islice(self.points, n))
