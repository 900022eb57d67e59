"""What development needs: a real Airflow in processes of its own, the demo, the pins."""
