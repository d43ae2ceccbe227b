"""The use case of building: a pipeline becomes a signed digest."""
