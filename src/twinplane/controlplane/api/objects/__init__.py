"""The API server's own copy of its objects: encoded bytes, indexes, and the watches that follow them."""
