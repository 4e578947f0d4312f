"""Hygiene: one room of the package knows Flax, and nobody looks into another's private names."""

import ast
from pathlib import Path

import pytest

import mia_jax

PACKAGE = Path(mia_jax.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(path):
    """The dotted names that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{name.name}" for name in node.names)


def name_of(path):
    return str(path.relative_to(PACKAGE))


def test_the_walk_sees_the_package():
    assert len(MODULES) > 20
    assert any(name.startswith("flax") for name in imported(PACKAGE / "models" / "linen.py"))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_models_import_flax(path):
    if path.parent != PACKAGE / "models":
        assert not [name for name in imported(path) if name.split(".")[0] == "flax"]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_are_absolute_and_public(path):
    names = list(imported(path))
    assert not [name for name in names if name.startswith(".")]
    ours = [name for name in names if name.startswith("mia_jax.")]
    assert not [name for name in ours if "._" in name.replace(".__version__", "")]
