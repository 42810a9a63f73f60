"""What strangers can do to us, and cannot: promises that hold across folders; the rows of docs/security.md."""
