"""Where a layer's ragged keys and values lie: one file a storage."""
