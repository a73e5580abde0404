"""The gRPC surface: thin. Requests in, answers and statuses out."""
