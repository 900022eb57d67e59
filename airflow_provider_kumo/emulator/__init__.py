"""A local Kumo: the REST API, the job lifecycle and a jobs page, on one machine.

Run it with ``kumo-emulator`` (or ``python -m airflow_provider_kumo.emulator``), use
:class:`airflow_provider_kumo.emulator.local.LocalKumo` from Python, or take the
``kumo_emulator`` fixture in a test. Nothing is imported here, so that the pytest
plugin costs nothing to a test session that does not use it.
"""
