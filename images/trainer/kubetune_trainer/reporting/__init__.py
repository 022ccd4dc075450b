"""What is said about a run while it goes: progress, what the hardware does, what a user could do better."""
