"""What turns decisions into action: the feed, the store, the queue, the reconcile, the resync."""
