package io.github.keepstate.conformance;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Makes the calls of the conformance suite with the Java client: commands in, answers out, a JSON
 * object a line. {@code docs/clients/conformance.md} says what they say.
 */
public final class Program {
  private static final Gson GSON =
      new GsonBuilder().serializeNulls().disableHtmlEscaping().create();

  private final PrintStream out;
  private final Calls calls = new Calls(this::pause);

  /** The threads of the commands that are under way, by id. */
  private final Map<Long, Thread> threads = new ConcurrentHashMap<>();

  /** The transactions that wait to be resumed, by id. */
  private final Map<Long, Pause> pauses = new ConcurrentHashMap<>();

  private static final class Pause extends java.util.concurrent.Semaphore {
    private static final long serialVersionUID = 1;

    Pause() {
      super(0);
    }
  }

  private Program(PrintStream out) {
    this.out = out;
  }

  /**
   * Runs until the standard input ends.
   *
   * @param arguments none
   */
  public static void main(String[] arguments) throws IOException {
    PrintStream out =
        new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);
    System.setOut(System.err); // nothing else may write among the answers
    Program program = new Program(out);
    BufferedReader in =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      program.begin(JsonParser.parseString(line).getAsJsonObject());
    }
    program.calls.close();
  }

  private void begin(JsonObject command) {
    switch (command.get("do").getAsString()) {
      case "cancel" -> {
        Thread thread = threads.get(command.get("call").getAsLong());
        if (thread != null) {
          thread.interrupt();
        }
        answer(command, "ok", Map.of());
      }
      case "resume" -> {
        pauses.get(command.get("call").getAsLong()).release();
        answer(command, "ok", Map.of());
      }
      default -> {
        Thread thread = new Thread(() -> perform(command));
        thread.setDaemon(true);
        threads.put(id(command), thread);
        thread.start();
      }
    }
  }

  private void perform(JsonObject command) {
    try {
      answer(command, "ok", calls.perform(command));
    } catch (Exception error) {
      answer(command, "error", Answers.error(error));
    } finally {
      threads.remove(id(command));
    }
  }

  /** Tells that a transaction's function waits, and waits. */
  private void pause(long id, String name) {
    Pause pause = new Pause();
    pauses.put(id, pause);
    say(Map.of("id", id, "paused", name, "run", 1));
    pause.acquireUninterruptibly();
  }

  private void answer(JsonObject command, String kind, Object what) {
    say(Map.of("id", id(command), kind, what));
  }

  private void say(Map<String, ?> line) {
    synchronized (out) {
      out.print(GSON.toJson(line) + "\n");
      out.flush();
    }
  }

  private static long id(JsonObject command) {
    return command.get("id").getAsLong();
  }
}
