"""Going on after memory ran out or the training diverged: the probe, the ladder, the process that replaces itself."""
