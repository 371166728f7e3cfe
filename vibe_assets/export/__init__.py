"""Labels leave the house: files that other tools read, and XMP sidecars."""
