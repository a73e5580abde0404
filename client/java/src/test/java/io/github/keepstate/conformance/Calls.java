package io.github.keepstate.conformance;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.github.keepstate.Committed;
import io.github.keepstate.Get;
import io.github.keepstate.KeepstateClient;
import io.github.keepstate.Put;
import io.github.keepstate.RecordName;
import io.github.keepstate.State;
import io.github.keepstate.StateRecord;
import io.github.keepstate.Tls;
import io.github.keepstate.TransactOperation;
import io.github.keepstate.Transaction;
import io.github.keepstate.Value;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Function;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/** The calls that commands tell, and the clients that make them. */
final class Calls implements AutoCloseable {
  /** Waits in a transaction's function, by its command's id and the pause's name. */
  interface Pausing {
    void pause(long id, String name);
  }

  /** What the function of a transaction throws itself. */
  static final class Raised extends Exception {
    private static final long serialVersionUID = 1;

    Raised() {
      super("the function's own error");
    }
  }

  private record Client(KeepstateClient client, String store, String namespace) {
    State view() {
      return client.store(store).namespace(namespace);
    }
  }

  private final Map<String, Client> clients = new ConcurrentHashMap<>();
  private final Pausing pausing;

  Calls(Pausing pausing) {
    this.pausing = pausing;
  }

  @Override
  public void close() {
    clients.values().forEach(each -> each.client.close());
  }

  /** Performs a command, and returns its answer. */
  Object perform(JsonObject command) throws Exception {
    String what = Operations.text(command, "do");
    switch (what) {
      case "hello" -> {
        return Map.of("language", "java", "version", version());
      }
      case "connect" -> {
        connect(command);
        return Map.of();
      }
      case "close" -> {
        clients.remove(Operations.text(command, "client")).client.close();
        return Map.of();
      }
      default -> {
        return call(what, view(command), command);
      }
    }
  }

  private Object call(String what, State view, JsonObject command) throws Exception {
    return switch (what) {
      case "get" -> Answers.one("record", Answers.record(view.get(Operations.get(command))));
      case "put" -> Answers.one("etag", view.put(Operations.put(command)));
      case "delete" -> Answers.one("existed", view.delete(Operations.delete(command)));
      case "touch" -> Answers.touched(view.touch(Operations.touch(command)));
      case "increment", "append", "merge_patch" ->
          Answers.updated(view.update(Operations.update(command)));
      case "batch" -> {
        var operations = objects(command, "operations").map(Operations::of).toList();
        yield Answers.one("results", view.batch(operations).stream().map(Answers::result).toList());
      }
      case "transact" -> transact(view, command);
      case "transaction" -> transaction(view, command);
      case "snapshot" -> snapshot(view, command);
      case "store" -> Answers.store(view.storeInfo());
      case "stores" -> Answers.one("stores", view.stores().stream().map(Answers::store).toList());
      default -> throw new AssertionError("no command: " + what);
    };
  }

  private void connect(JsonObject command) {
    KeepstateClient.Builder builder = KeepstateClient.builder(Operations.text(command, "address"));
    if (command.has("timeout_ms")) {
      builder.timeout(Operations.millis(command.get("timeout_ms")));
    }
    if (command.has("retry") && !command.get("retry").getAsBoolean()) {
      builder.withoutRetry();
    }
    if (command.has("token")) {
      builder.token(Operations.text(command, "token"));
    }
    if (command.has("metadata")) {
      command
          .getAsJsonObject("metadata")
          .entrySet()
          .forEach(each -> builder.metadata(each.getKey(), each.getValue().getAsString()));
    }
    if (command.has("tls")) {
      builder.tls(tls(command.getAsJsonObject("tls")));
    }
    String store = command.has("store") ? Operations.text(command, "store") : "";
    String namespace = command.has("namespace") ? Operations.text(command, "namespace") : "";
    Client client = new Client(builder.build(), store, namespace);
    clients.put(Operations.text(command, "client"), client);
  }

  private static Tls tls(JsonObject fields) {
    Function<String, Optional<String>> text =
        name -> Optional.ofNullable(fields.get(name)).map(JsonElement::getAsString);
    return new Tls(
        text.apply("ca").map(Path::of),
        text.apply("client_cert").map(Path::of),
        text.apply("client_key").map(Path::of),
        text.apply("server_name"));
  }

  private State view(JsonObject command) {
    State view = clients.get(Operations.text(command, "client")).view();
    if (command.has("namespace")) {
      view = view.namespace(Operations.text(command, "namespace"));
    }
    if (command.has("store")) {
      view = view.store(Operations.text(command, "store"));
    }
    return command.has("timeout_ms")
        ? view.timeout(Operations.millis(command.get("timeout_ms")))
        : view;
  }

  private static Object transact(State view, JsonObject command) {
    List<TransactOperation> operations = new ArrayList<>();
    objects(command, "checks").map(Operations::check).forEach(operations::add);
    objects(command, "puts").map(Operations::put).forEach(operations::add);
    objects(command, "deletes").map(Operations::delete).forEach(operations::add);
    objects(command, "updates").map(Operations::update).forEach(operations::add);
    Committed done = view.transact(operations);
    Map<String, Object> answer = new LinkedHashMap<>();
    answer.put("puts", done.puts().stream().map(etag -> Answers.one("etag", etag)).toList());
    answer.put("deletes", done.deletes().stream().map(was -> Answers.one("existed", was)).toList());
    answer.put("updates", done.updates().stream().map(Answers::updated).toList());
    return answer;
  }

  private Object transaction(State view, JsonObject command) throws Raised {
    List<Object> reads = new ArrayList<>();
    Transaction[] last = new Transaction[1];
    int[] runs = {0};
    int tries = command.has("tries") ? command.get("tries").getAsInt() : 10;
    view.transaction(
        tries,
        tx -> {
          last[0] = tx;
          runs[0]++;
          reads.clear();
          for (JsonObject step : objects(command, "steps").toList()) {
            step(command, tx, step, runs[0], reads);
          }
          return null;
        });
    if (command.has("late")) {
      step(command, last[0], command.getAsJsonObject("late"), runs[0], reads);
    }
    return Map.of("reads", reads, "runs", runs[0]);
  }

  private void step(
      JsonObject command, Transaction tx, JsonObject step, int run, List<Object> reads)
      throws Raised {
    switch (Operations.text(step, "do")) {
      case "get" -> reads.add(Answers.record(tx.get(Operations.get(step))));
      case "put" -> tx.put(Operations.put(step));
      case "delete" -> tx.delete(Operations.delete(step));
      case "add" -> {
        String key = Operations.text(step, "key");
        Get get = Operations.get(step);
        long number = tx.get(get).map(StateRecord::value).map(Value::number).orElse(0L);
        String sum = Long.toString(number + Operations.number(step.get("delta")));
        tx.put(Operations.placed(Put.of(key, Value.json(sum)), step));
      }
      case "pause" -> {
        if (run == 1) {
          pausing.pause(command.get("id").getAsLong(), Operations.text(step, "name"));
        }
      }
      case "fail" -> throw new Raised();
      default -> tx.update(Operations.update(step));
    }
  }

  private Object snapshot(State view, JsonObject command) {
    Client client = clients.get(Operations.text(command, "client"));
    List<RecordName> names =
        objects(command, "names")
            .map(
                each ->
                    new RecordName(
                        each.has("store") ? Operations.text(each, "store") : client.store,
                        each.has("namespace")
                            ? Operations.text(each, "namespace")
                            : client.namespace,
                        Operations.text(each, "key")))
            .toList();
    return Answers.one("records", view.snapshot(names).stream().map(Answers::record).toList());
  }

  private static Stream<JsonObject> objects(JsonObject command, String field) {
    JsonArray array = command.has(field) ? command.getAsJsonArray(field) : new JsonArray();
    return StreamSupport.stream(array.spliterator(), false).map(JsonElement::getAsJsonObject);
  }

  private static String version() throws java.io.IOException {
    Properties properties = new Properties();
    try (var in = KeepstateClient.class.getResourceAsStream("client.properties")) {
      properties.load(in);
    }
    return properties.getProperty("version");
  }
}
