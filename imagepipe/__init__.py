"""imagepipe: from a merged commit to a running, trusted container.

>>> import imagepipe
>>> imagepipe.__version__.count(".")
2
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
