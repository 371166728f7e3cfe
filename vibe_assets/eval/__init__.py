"""Command-line evaluation: files of labels, or the lake's, against people's."""
