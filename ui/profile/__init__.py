"""The Profile page, one file a section."""
