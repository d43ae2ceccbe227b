"""One way to speak HTTP: clients, retries, failures and redaction; nothing else in the project retries."""
