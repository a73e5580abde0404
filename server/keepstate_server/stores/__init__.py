"""What each Dapr state store needs, so that the engine sees one kind of store."""
