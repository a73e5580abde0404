package example;

import io.github.keepstate.Increment;
import io.github.keepstate.KeepstateClient;
import io.github.keepstate.KeepstateException;
import io.github.keepstate.Put;
import io.github.keepstate.State;
import io.github.keepstate.StateRecord;
import io.github.keepstate.UpdateNotApplicableException;
import io.github.keepstate.Value;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * Sells the last tickets of a show to more buyers than there are tickets, all at once, and none of
 * them twice.
 */
public final class BoxOffice {
  private static final Duration HOLD = Duration.ofMinutes(15);

  private final State shows;

  private BoxOffice(State state) {
    this.shows = state.namespace("shows");
  }

  /**
   * Reserves a ticket: one less is left, and the buyer has it for 15 minutes. Both or neither.
   *
   * @return whether there was one; a buyer who has one already keeps it, and takes no other
   */
  private boolean reserve(String show, String buyer) {
    try {
      return shows.transaction(
          tx -> {
            String ticket = show + ":ticket:" + buyer;
            if (tx.get(ticket).isEmpty()) {
              tx.update(Increment.of(show + ":left", -1).minimum(0));
              tx.put(Put.of(ticket, Value.text("reserved")).ttl(HOLD));
            }
            return true;
          });
    } catch (UpdateNotApplicableException soldOut) {
      return false;
    }
  }

  private long left(String show) {
    return shows.get(show + ":left").map(StateRecord::value).map(Value::number).orElse(0L);
  }

  /**
   * Sells 5 tickets to 20 buyers.
   *
   * @param arguments the service's address; {@code localhost:7400} if there is none
   */
  public static void main(String[] arguments) throws Exception {
    String address = arguments.length > 0 ? arguments[0] : "localhost:7400";
    try (KeepstateClient client = KeepstateClient.connect(address)) {
      BoxOffice office = new BoxOffice(client);
      String show = "hamlet-" + System.currentTimeMillis();
      office.shows.put(Put.of(show + ":left", Value.json("5")).ifAbsent());
      int buyers = 20;
      ExecutorService threads = Executors.newFixedThreadPool(buyers);
      List<Callable<Boolean>> asks = new ArrayList<>();
      for (int number = 1; number <= buyers; number++) {
        String buyer = "buyer-" + number;
        asks.add(() -> office.reserve(show, buyer));
      }
      long sold = 0;
      for (Future<Boolean> answer : threads.invokeAll(asks)) {
        sold += answer.get() ? 1 : 0;
      }
      threads.shutdown();
      System.out.printf(
          "%d of %d buyers have a ticket, %d are left%n", sold, buyers, office.left(show));
    } catch (KeepstateException error) {
      System.err.println("the service at " + address + " says: " + error.getMessage());
      System.exit(1);
    }
  }
}
