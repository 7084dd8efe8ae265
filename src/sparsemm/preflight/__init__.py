"""What a run will ask for, before its first GPU hour: access, disk, memory, hours. Asks the hub for metadata alone."""
