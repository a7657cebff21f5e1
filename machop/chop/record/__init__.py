"""Files that later commands rely on: each line, block and file carries a checksum and a version that are checked."""
