"""Programs: the code and libraries of a commit, run in a process with limits."""
