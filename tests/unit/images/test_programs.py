"""Images of well-known packages start what the official images start."""

from __future__ import annotations

import pytest

from twinplane.images.pack_recipe import Recipe
from twinplane.images.programs import completed


@pytest.mark.parametrize("package", ["nginx", "nginx-light", "nginx-extras"])
def test_a_flavour_of_a_package_runs_the_same_program(package: str) -> None:
    recipe = completed(Recipe(apt=(package,)))
    assert recipe.command == ("nginx", "-g", "daemon off;")
    assert recipe.ports == ("80",)


def test_what_the_recipe_says_wins() -> None:
    recipe = completed(Recipe(apt=("nginx",), command=("nginx", "-v"), ports=("8080",)))
    assert (recipe.command, recipe.ports) == (("nginx", "-v"), ("8080",))


def test_unknown_packages_start_nothing() -> None:
    assert completed(Recipe(apt=("hello",))) == Recipe(apt=("hello",))
