"""What keeps the operator running: work queue, reconciler, resync, health, metrics, logs. Knows no kind."""
