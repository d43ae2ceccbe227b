"""The OCI distribution protocol over httpx: credentials, token flow, manifests, blobs, referrers."""
