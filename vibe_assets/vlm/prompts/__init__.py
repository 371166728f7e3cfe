"""Packaged prompts of the tag benchmark, Markdown files."""
