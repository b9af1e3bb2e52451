"""Files: the one writer, locks of readers and writers, JSON with a checksum."""
