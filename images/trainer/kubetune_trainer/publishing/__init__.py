"""What comes out: the artifact, its manifest and its model card."""
