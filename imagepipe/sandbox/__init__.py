"""A small true copy of the world on one machine: engines, VCHs, Harbor and Sigstore, from real parts."""
