package io.github.keepstate;

import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Message;
import io.github.keepstate.v1.BatchOperation;
import io.github.keepstate.v1.BatchRequest;
import io.github.keepstate.v1.RequestId;
import java.util.List;

/** Finds the requests in messages. */
final class Requests {
  private Requests() {}

  static List<RequestId> of(Message message) {
    if (message instanceof BatchRequest batch) {
      return batch.getOperationsList().stream()
          .flatMap(each -> of((Message) each.getField(kind(each))).stream())
          .toList();
    }
    FieldDescriptor field = message.getDescriptorForType().findFieldByName("request");
    return field != null && message.hasField(field)
        ? List.of((RequestId) message.getField(field))
        : List.of();
  }

  private static FieldDescriptor kind(BatchOperation operation) {
    return operation.getOneofFieldDescriptor(operation.getDescriptorForType().getOneofs().get(0));
  }
}
