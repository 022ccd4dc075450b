"""The contract between operator and images, held still by golden files."""
