"""A small true Harbor 1.7.8, as VIC 1.5.8 bundles it, with its Admiral; or the same Harbor stand-alone.

    python -m imagepipe.sandbox.harbor --config harbor.json     # "flavour": "vic", or "version": "1.7.8"

It serves the database of the newer Harbor's stand-in, so that a world is set up through that one's API.
"""

from imagepipe.sandbox.vic.app import create_app

__all__ = ["create_app"]
