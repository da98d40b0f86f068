"""People of institutions and of the platform: real names, passwords, second factors, sessions; and API clients."""
