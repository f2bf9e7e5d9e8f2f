"""What several tests need: objects as users write them, waiting for a condition, the running house."""
