"""Study: the best photo of every series."""
