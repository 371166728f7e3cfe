"""What every page that we serve shares: the guard, and starting a server on loopback."""
