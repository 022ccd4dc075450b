"""What is told of a training: progress, cost, attempts, and the status made of them."""
