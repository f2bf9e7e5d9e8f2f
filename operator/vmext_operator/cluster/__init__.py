"""What touches the API server."""
