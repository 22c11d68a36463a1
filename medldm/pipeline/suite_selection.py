"""A part of a suite, for trying one recipe or one case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medldm.errors import UsageError
from medldm.pipeline.suite import Suite


def selected(suite: Suite, only: Sequence[str]) -> Suite:
    """The suite restricted to the recipes and cases named; all of a kind that is not named."""
    if not only:
        return suite
    recipes = {task.recipe for task in suite.tasks}
    unknown = [name for name in only if name not in recipes and name not in suite.cases]
    if unknown:
        raise UsageError(
            "E-SUI-06",
            f"The suite has no recipe or case {', '.join(unknown)}.",
            fix=f"Recipes: {', '.join(sorted(recipes))}. Cases: {', '.join(sorted(suite.cases))}.",
        )
    wanted_recipes = recipes & set(only) or recipes
    wanted_cases = set(suite.cases) & set(only) or set(suite.cases)
    tasks = [
        replace(task, cases=tuple(name for name in task.cases if name in wanted_cases))
        for task in suite.tasks
        if task.recipe in wanted_recipes
    ]
    return replace(suite, tasks=tuple(task for task in tasks if task.cases))
