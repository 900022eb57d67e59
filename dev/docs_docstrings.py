"""An extension of griffe, which reads docstrings for the site: roles become links, classes show what they pass on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from griffe import Extension, Kind, NameResolutionError, ParameterKind

if TYPE_CHECKING:
    from griffe import Class, Function, GriffeLoader, Module, Object

_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):`(~?)([\w.]+)`")
_LITERAL_BLOCK = re.compile(r"::$", re.MULTILINE)


class Docstrings(Extension):  # type: ignore[misc,unused-ignore]
    """Prepares the package as soon as all of it is read."""

    def on_package(self, *, pkg: Module, loader: GriffeLoader, **kwargs: Any) -> None:  # noqa: ARG002
        """Change every object of the package."""
        _prepare(pkg)


def _prepare(found: Object) -> None:
    for member in found.members.values():
        if member.is_alias:
            continue
        if member.is_class:
            _show_what_is_passed_on(member)
        elif member.is_function:
            _show_defaults(member)
        _prepare(member)
    if found.docstring is not None:
        found.docstring.value = _LITERAL_BLOCK.sub(
            ":", _ROLE.sub(lambda role: _link(role, found), found.docstring.value)
        )


def _link(role: re.Match[str], found: Object) -> str:
    """Turn a Sphinx role into a cross-reference, which stays plain text if the site does not show its target."""
    shortened, name = role.groups()
    shown = name.rpartition(".")[2] if shortened else name
    if not name.startswith("airflow_provider_kumo."):
        first, dot, rest = name.partition(".")
        try:
            name = found.resolve(first) + dot + rest
        except NameResolutionError:
            return f"`{shown}`"
    return f'<autoref optional identifier="{name}">`{shown}`</autoref>'


def _show_what_is_passed_on(cls: Class) -> None:
    """Add the parameters that ``**kwargs`` passes on to classes of ours: they are a caller's too."""
    own = cls.members.get("__init__")
    if own is None or not own.is_function:
        return
    parameters = own.parameters
    rest = next((found for found in parameters if found.kind is ParameterKind.var_keyword), None)
    if rest is None:
        return
    for base in cls.mro():
        init = base.members.get("__init__")
        if init is None or init.kind is not Kind.FUNCTION:
            continue
        for passed in init.parameters:
            if passed.kind is ParameterKind.keyword_only and passed.name not in parameters:
                parameters.add(passed)
    del parameters[rest.name]
    parameters.add(rest)


def _show_defaults(function: Function) -> None:
    """Show what a private constant holds where it is a default."""
    for parameter in function.parameters:
        name = str(parameter.default)
        if name.startswith("_") and name in function.module.members:
            parameter.default = str(function.module.members[name].value)
