"""Pure helpers for everything that ends in a pod: building its template, reading it back, saying why it is stuck."""
