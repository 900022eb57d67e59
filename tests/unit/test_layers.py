"""Imports point one way, so that each layer can be read, tested and replaced without those above it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import airflow_provider_kumo

PACKAGE = Path(airflow_provider_kumo.__file__).parent
OURS = "airflow_provider_kumo"
# What each layer may import of ours, besides itself.
MAY_IMPORT = {
    "": set(),
    "client": {""},
    "outputs": set(),
    "arguments": set(),
    "assets": {"client"},
    "lineage": {"client"},
    "failures": {"client"},
    "resumption": set(),
    "retry": {"client"},
    "hooks": {"client", "connection_form"},
    "submission": {"client"},
    "links": set(),
    "triggers": {"client", "hooks", "links", "assets"},
    "operators": {
        "client",
        "hooks",
        "submission",
        "links",
        "triggers",
        "arguments",
        "assets",
        "failures",
        "lineage",
        "outputs",
        "resumption",
    },
    "sensors": {"client", "hooks", "links", "triggers", "arguments", "assets", "failures", "resumption"},
    "notifications": {"links", "operators"},
    "task_groups": {"client", "operators"},
    "connection_form": set(),
    "get_provider_info": {"connection_form"},
    "emulator": {""},
}
# Loaded when the task runs, never when the DAG is parsed.
ONLY_LAZILY = {
    ("operators", "triggers"),
    ("operators", "hooks"),
    ("operators", "lineage"),
    ("sensors", "triggers"),
    ("sensors", "hooks"),
    ("triggers", "hooks"),
}
HTTP_LIBRARIES = {"requests", "urllib3", "aiohttp", "yarl", "certifi"}


def sources():
    return sorted(PACKAGE.rglob("*.py"))


def layer_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports_of(path: Path):
    """Yield (module, lazily, for types only) of every import of a file."""

    def walk(node: ast.AST, lazily: bool, for_types: bool):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, lazily, for_types) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}: relative import"
                yield from ((f"{child.module}.{alias.name}", lazily, for_types) for alias in child.names)
            else:
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, lazily or inside, for_types or is_type_checking(child))

    yield from walk(ast.parse(path.read_text()), lazily=False, for_types=False)


def layer_of_module(module: str) -> str | None:
    head, _, rest = module.partition(".")
    if head != OURS:
        return None
    first = rest.partition(".")[0]
    return "" if first in ("", "__version__") else first


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    layer = layer_of(path)
    for module, lazily, for_types in imports_of(path):
        target = layer_of_module(module)
        if target is None or target == layer:
            continue
        assert target in MAY_IMPORT[layer], f"{layer} imports {module}"
        if (layer, target) in ONLY_LAZILY:
            assert lazily or for_types, f"{layer} imports {module} at import time"


def test_the_client_knows_nothing_of_airflow():
    heads = {module.partition(".")[0] for path in (PACKAGE / "client").rglob("*.py") for module, *_ in imports_of(path)}
    assert "requests" in heads
    assert "airflow" not in heads


@pytest.mark.parametrize(
    ("folder", "name", "library"), [("client", "sync.py", "requests"), ("client", "aio.py", "aiohttp")]
)
def test_each_http_library_has_one_transport(folder, name, library):
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in sources()
        if layer_of(path) != "emulator"
        for module, lazily, for_types in imports_of(path)
        if module.partition(".")[0] == library and not for_types and not lazily
    }
    assert users == {f"{folder}/{name}"}


def test_only_the_transports_name_an_http_library():
    for path in sources():
        if layer_of(path) == "emulator" or path.name in ("sync.py", "aio.py"):
            continue
        named = {module.partition(".")[0] for module, *_ in imports_of(path)} & HTTP_LIBRARIES
        assert not named, f"{path} imports {named}"


def test_kumos_own_packages_are_for_the_emulator_only():
    for path in sources():
        if layer_of(path) != "emulator":
            assert not {module.partition(".")[0] for module, *_ in imports_of(path)} & {"kumoapi", "kumoai"}, path
