"""A GitHub that runs on loopback: real git, strict answers, nothing beyond this process."""
