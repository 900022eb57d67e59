"""Run by the Python of a clean environment: look.py <report> <DAG file> ...; writes what is there as JSON.

Airflow logs to stdout, so the report goes to a file.
"""

import json
import pkgutil
import runpy
import sys
import traceback
from importlib import import_module, metadata
from pathlib import Path

import airflow
import airflow.providers_manager

import airflow_provider_kumo
from airflow_provider_kumo.get_provider_info import get_provider_info

OURS = "airflow_provider_kumo"


def paths(value):
    """Find every dotted path of ours in the metadata."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [path for item in value for path in paths(item)]
    return [value] if isinstance(value, str) and value.startswith(OURS + ".") else []


def trouble(do, *arguments):
    """Return the traceback of what goes wrong, or nothing."""
    try:
        do(*arguments)
    except (Exception, SystemExit):  # noqa: BLE001 - whatever it is, it is told
        return traceback.format_exc()
    return None


def load(path):
    """Import a module, or a name in one."""
    try:
        return import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def modules():
    found = pkgutil.walk_packages(airflow_provider_kumo.__path__, OURS + ".", onerror=lambda name: None)
    return sorted(module.name for module in found if not module.name.startswith(OURS + ".emulator."))


info = get_provider_info()
manager = airflow.providers_manager.ProvidersManager()
report = {
    "airflow": metadata.version("apache-airflow"),
    "version": metadata.version("airflow-provider-kumo"),
    "__version__": airflow_provider_kumo.__version__,
    "search path": sys.path,
    "files": sorted({str(module.__file__) for name, module in sys.modules.items() if name.startswith(OURS)}),
    "installed": sorted(distribution.name.lower() for distribution in metadata.distributions()),
    "info": info,
    "paths": {path: trouble(load, path) for path in paths(info)},
    "modules": {name: trouble(import_module, name) for name in modules()},
    "dags": {Path(file).name: trouble(runpy.run_path, file) for file in sys.argv[2:]},
    "schemas": {
        name: json.loads((Path(airflow.__path__[0]) / name).read_text())
        for name in ("provider_info.schema.json", "provider.yaml.schema.json")
    },
    "provider": manager.providers["airflow-provider-kumo"].version,
    "hook": manager.hooks["kumo"].hook_name,
    "links": sorted(link for link in manager.extra_links_class_names if link.startswith(OURS)),
    "entry points": {
        group: [point.value for point in metadata.entry_points(group=group) if point.value.startswith(OURS)]
        for group in ("apache_airflow_provider", "console_scripts", "pytest11")
    },
}
Path(sys.argv[1]).write_text(json.dumps(report))
