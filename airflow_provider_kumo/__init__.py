"""Apache Airflow provider for Kumo (https://kumo.ai)."""

__version__ = "0.1.0"
