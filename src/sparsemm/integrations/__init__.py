"""Other tools of the field: predictions in their formats. None of them is a dependency."""
