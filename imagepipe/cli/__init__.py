"""The face: the only package that prints, reads argv and exits."""
