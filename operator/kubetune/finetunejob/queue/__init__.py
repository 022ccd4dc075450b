"""Who may train next: places, budget, and the order of those that wait."""
