"""Evidence on images: attaching signed statements, and proving what is attached. Shared by the use cases above."""
