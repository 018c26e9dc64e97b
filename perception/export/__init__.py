"""A trained run as a file that runs without its training code."""
