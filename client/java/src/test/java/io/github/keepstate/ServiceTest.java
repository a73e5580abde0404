package io.github.keepstate;

import java.time.Duration;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Timeout;

/** A test with a small service and a client, whose pauses take no time. */
@Timeout(60)
abstract class ServiceTest {
  final MovedTime time = new MovedTime();
  FakeService service;
  KeepstateClient state;

  @BeforeEach
  void begin() throws Exception {
    service = new FakeService().start();
    state = KeepstateClient.builder(service.address()).time(time).build();
  }

  @AfterEach
  void end() throws Exception {
    state.close();
    service.stop();
  }

  Duration paused() {
    return time.pauses.stream().reduce(Duration.ZERO, Duration::plus);
  }
}
