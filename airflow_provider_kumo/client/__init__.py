"""Kumo's REST API, without Airflow.

``calls`` says what can be asked, ``jobs`` what comes back, ``errors`` what can go wrong, ``policy`` what to do
about it; ``sync`` and ``aio`` carry the same calls over requests and aiohttp. Importing this package loads neither.
"""
