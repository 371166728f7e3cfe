"""Files go in, photo rows, groups and splits come out: discovery, scanning, decoding, EXIF, quality and grouping."""
