"""How fast the operator is, what it costs, and how near it comes to a client that only writes."""
