"""Values and errors of the contract. Knows nothing of gRPC, protobuf or Dapr."""
