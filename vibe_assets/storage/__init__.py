"""Folders and files by path or by URL (file, s3, gs, az): the same few operations on either."""
