"""What is the same of everything that runs once: training, preflight, evaluation."""
