"""Signs statements and proves bundles, keyless by Sigstore or by a key; the only room that knows sigstore-python.

Importing a module of this room costs nothing: sigstore (0.4 s) is imported when it is first needed.
"""
