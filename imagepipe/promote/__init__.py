"""Use case: a digest reaches hosts, and what arrived is proven to be what was signed."""
