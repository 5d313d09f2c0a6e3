"""Arrays in, numbers out: fidelity, statistics, verdict, shortcut score."""
