"""The Compare page, a file a tab: each draws one view of the chosen variants."""
