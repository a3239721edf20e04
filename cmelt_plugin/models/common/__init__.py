"""What several systems have in common, from settings to which they give the same names."""
