"""The ModelDeployment kind."""
