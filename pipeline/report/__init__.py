"""What people look at: MLflow tracking, plots, the report page."""
