import type { TestContext } from "node:test";

import { json, type Codec } from "../../src/codecs.js";
import { Connection, type ConnectionSettings } from "../../src/connection.js";
import type { Timing } from "../../src/time.js";
import { State } from "../../src/state.js";
import { FakeService } from "./fake_service.js";
import { FakeTiming } from "./timing.js";

/** A view over a connection whose clocks and pauses are the test's. */
export class TestState<V> extends State<V> {
  readonly connection: Connection;

  constructor(address: string, settings: ConnectionSettings, timing: Timing, codec: Codec<V>) {
    const connection = new Connection(address, settings, timing);
    super(connection, { store: "", namespace: "", codec });
    this.connection = connection;
  }
}

/** A fake service, and a client of it; both end with the test. */
export async function begin(
  t: TestContext,
  settings: ConnectionSettings = {},
): Promise<{ service: FakeService; timing: FakeTiming; state: TestState<unknown> }> {
  const service = await new FakeService().start();
  const timing = new FakeTiming();
  const state = new TestState(service.address, settings, timing, json());
  t.after(() => {
    state.connection.close();
    service.stop();
  });
  return { service, timing, state };
}
