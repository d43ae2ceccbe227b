"""Use case: what works, what will stop working soon, and what will not work together, found before it hurts."""
