"""What a mask does to a net: connectivity, collapse, conservation, compaction."""
