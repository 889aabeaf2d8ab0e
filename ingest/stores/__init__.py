"""What ingest writes to: events in PostgreSQL, objects on S3 or in a folder, models in MLflow."""
