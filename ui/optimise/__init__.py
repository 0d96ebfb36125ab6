"""The Optimise page, one file a part."""
