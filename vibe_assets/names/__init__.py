"""Study: face to first name, a weak statistical signal; it identifies nobody."""
