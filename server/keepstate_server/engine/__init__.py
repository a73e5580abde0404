"""The contract: how records, their lives and their writes are kept on any store."""
