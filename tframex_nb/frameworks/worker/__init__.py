"""Workers: a framework in a process and an environment of its own, behind a pipe."""
