"""Use case: access as code. Harbor is the state; a file says what it should be; a plan says what would change."""
