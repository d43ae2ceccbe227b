"""Docker hosts and VCHs through the Docker Engine API; docker-py and requests stay inside this package."""
