"""A small true Harbor: its REST API, token service and `/v2` rules in front of a real docker-registry.

    python -m imagepipe.sandbox.harbor --config harbor.json

In a test the same app runs in-process:

    app = create_app(HarborConfig.parse({"backend_url": url, "state_file": path, ...}))
"""

from imagepipe.sandbox.harbor.app import create_app
from imagepipe.sandbox.harbor.config import HarborConfig

__all__ = ["HarborConfig", "create_app"]
