"""Immutable values: parsed once, never wrong, without input or output."""
