#!/bin/sh
# Serves the page on port 8080 until it is stopped.
exec httpd -f -v -p 8080 -h /srv
