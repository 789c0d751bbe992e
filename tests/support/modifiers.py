"""Let `brownie test --coverage` count the branches of modifiers.

Brownie counts a branch when the jump at its end belongs to a function, and reports it when that function has statements
in the same file. For the condition of a modifier it finds no function, or one that is elsewhere: it lists the branch,
and says that it was never reached.
"""

from __future__ import annotations

from brownie import project


def install() -> None:
    """Give such jumps the function under which Brownie lists their branch. Again is harmless."""
    for loaded in project.get_loaded_projects():
        for container in loaded:
            code, reached = container._build["pcMap"], container._build["coverageMap"]
            for entry in code.values():
                if "branch" in entry and "fn" not in entry:
                    entry["fn"] = _function_of(reached["branches"][entry["path"]], entry["branch"])
            for path, functions in reached["branches"].items():
                for function in functions:
                    reached["statements"][path].setdefault(function, {})


def _function_of(branches: dict, number: int) -> str:
    return next(function for function, numbers in branches.items() if str(number) in map(str, numbers))
