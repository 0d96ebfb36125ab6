"""What is measured on an opened artifact, and what may be concluded from it."""
