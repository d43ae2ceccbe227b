"""Where the source stands, by the `git` program, which stays inside this package."""
