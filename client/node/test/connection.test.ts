import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttp2Server } from "node:http2";
import { connect, createServer, type AddressInfo } from "node:net";
import { test } from "node:test";

import { status as Code } from "@grpc/grpc-js";

import { VERSION } from "../src/channel.js";
import { bytes, json } from "../src/codecs.js";
import { UsageError, type AnyKeepstateError } from "../src/errors.js";
import type { PutRequest, UpdateRequest } from "../src/gen/keepstate/v1/state_service.js";
import { systemTiming } from "../src/time.js";
import { begin, TestState } from "./support/client.js";
import { inTurn, recordOf, Refusal } from "./support/fake_service.js";
import { FakeTiming } from "./support/timing.js";

const UNAVAILABLE = new Refusal(Code.UNAVAILABLE, { reason: "STORE_UNAVAILABLE", retryAfterMs: 200 });
const UNKNOWN = new Refusal(Code.UNKNOWN, { reason: "OUTCOME_UNKNOWN" });
const NOON = "2030-06-01T12:00:00.000Z";

async function failure(call: Promise<unknown>): Promise<AnyKeepstateError> {
  try {
    await call;
  } catch (error) {
    return error as AnyKeepstateError;
  }
  throw new assert.AssertionError({ message: "it did not fail" });
}

test("an answer comes back", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["get"] = () => ({ record: recordOf("k", '{"n":1}') });
  assert.deepEqual(await state.get("k"), { n: 1 });
});

test("a missing record is an answer of get, a missing store is none", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["get"] = inTurn(
    new Refusal(Code.NOT_FOUND, { reason: "RECORD_NOT_FOUND" }),
    new Refusal(Code.NOT_FOUND, { reason: "STORE_NOT_FOUND" }),
    new Refusal(Code.NOT_FOUND),
  );
  assert.equal(await state.get("k"), undefined);
  assert.equal((await failure(state.get("k"))).kind, "StoreNotFound");
  assert.equal((await failure(state.get("k"))).kind, "NotFound");
});

test("a client asks for the service's time before its first write, and once for several", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["put"] = () => ({ etag: "e" });
  await Promise.all([state.put("a", 1), state.put("b", 2), state.put("c", 3)]);
  await state.put("d", 4);
  assert.equal(service.asked, 1);
  const seconds = BigInt(Date.parse(NOON) / 1000);
  for (const { request } of service.arrived) assert.deepEqual(request?.firstSent, { seconds, nanos: 0 });
});

test("a refusal tells the time too", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["get"] = () => {
    throw new Refusal(Code.PERMISSION_DENIED, { reason: "PERMISSION_DENIED" });
  };
  service.handlers["put"] = () => ({ etag: "e" });
  await failure(state.get("a"));
  await state.put("a", 1);
  assert.equal(service.asked, 0);
});

test("a first write waits for another one's question no longer than its own time", async (t) => {
  const { service, state, timing } = await begin(t);
  service.handlers["getStore"] = () => new Promise(() => undefined);
  const stop = new AbortController();
  const asking = failure(state.put("a", 1, { signal: stop.signal }));
  timing.late = true;
  const error = await failure(state.put("b", 1, { timeoutMs: 50 }));
  stop.abort();
  assert.equal(error.kind, "DeadlineExceeded");
  assert.ok(error.nothingSent);
  assert.equal((await asking).kind, "Cancelled");
  assert.ok(service.arrived.every(({ method }) => method === "getStore"));
});

test("where no answer tells the time the local clock serves", async (t) => {
  const { service, state, timing } = await begin(t);
  service.time = undefined;
  service.handlers["put"] = () => ({ etag: "e" });
  await state.put("a", 1);
  const seconds = BigInt(Math.floor(timing.wall() / 1000));
  assert.equal(service.arrived[0]?.request?.firstSent?.seconds, seconds);
});

test("a write whose time is up before the service tells its own was not sent", async (t) => {
  const { service, state, timing } = await begin(t);
  service.handlers["getStore"] = () => {
    timing.now += 10_000;
    throw new Refusal(Code.UNAVAILABLE);
  };
  const error = await failure(state.put("a", 1));
  assert.equal(error.kind, "DeadlineExceeded");
  assert.ok(error.nothingSent);
  assert.deepEqual(
    service.arrived.map(({ method }) => method),
    ["getStore"],
  );
});

test("a write is not sent with the milliseconds by which the question for the time ended early", async (t) => {
  const { service, state, timing } = await begin(t);
  service.handlers["getStore"] = () => {
    timing.now += 9_998;
    throw new Refusal(Code.DEADLINE_EXCEEDED);
  };
  const error = await failure(state.put("a", 1));
  assert.equal(error.kind, "DeadlineExceeded");
  assert.ok(error.nothingSent);
  assert.equal(service.arrived.length, 1);
});

test("each write has a request: the client's number, counted from 1 on, attempt 0", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["put"] = () => ({ etag: "e" });
  service.handlers["delete"] = () => ({ existed: true });
  service.handlers["touch"] = () => ({ etag: "e", expireTime: undefined });
  service.handlers["update"] = () => ({ record: recordOf("n", "1"), repeated: false });
  service.handlers["transact"] = () => ({ puts: [], deletes: [{ existed: true }], updates: [] });
  await state.put("a", 1);
  await state.delete("a");
  await state.touch("a", { never: true });
  await state.increment("n");
  await state.transact({ deletes: [{ key: "a" }] });
  const requests = service.arrived.map(({ request }) => request);
  assert.deepEqual(
    requests.map((request) => request?.number),
    [1n, 2n, 3n, 4n, 5n],
  );
  assert.equal(new Set(requests.map((request) => request?.client)).size, 1);
  assert.notEqual(requests[0]?.client, 0n);
  assert.ok(requests.every((request) => request?.attempt === 0));
});

test("two clients have different numbers", async (t) => {
  const one = await begin(t);
  const other = await begin(t);
  for (const { service, state } of [one, other]) {
    service.handlers["put"] = () => ({ etag: "e" });
    await state.put("a", 1);
  }
  assert.notEqual(one.service.arrived[0]?.request?.client, other.service.arrived[0]?.request?.client);
});

test("a repeat is the same message with the attempt counted", async (t) => {
  const { service, state, timing } = await begin(t);
  service.handlers["put"] = inTurn(UNAVAILABLE, UNKNOWN, { etag: "e3" });
  assert.equal(await state.put("a", { n: 1 }, { ifEtag: "e0", ttlMs: 1_500 }), "e3");
  const [first, ...others] = service.arrived.map(({ message }) => message as { request: { attempt: number } });
  assert.ok(first);
  for (const [index, other] of others.entries()) {
    assert.deepEqual(other, { ...first, request: { ...first.request, attempt: index + 1 } });
  }
  assert.deepEqual(timing.pauses, [225, 50]); // 200 asked for and half of 50; half of 100
});

test("a call carries what it was given, though the caller goes on with its buffers and arrays", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["put"] = inTurn(UNKNOWN, { etag: "e" });
  const buffer = Buffer.from("as given");
  const put = state.using(bytes).put("a", buffer);
  buffer.fill("x");
  await put;
  const sent = service.arrived.map(({ message }) => Buffer.from((message as PutRequest).value).toString());
  assert.deepEqual(sent, ["as given", "as given"]);

  service.handlers["update"] = () => ({ record: recordOf("l", "[1]"), repeated: false });
  const item = Buffer.from("[1]");
  const items = [item];
  const append = state.append("l", items);
  item.fill("x");
  items.length = 0;
  await append;
  const { update } = service.arrived[2]?.message as UpdateRequest;
  assert.ok(update?.$case === "append");
  assert.deepEqual(
    update.value.items.map((each) => Buffer.from(each).toString()),
    ["[1]"],
  );

  service.handlers["batch"] = () => ({ results: [{ result: { $case: "put", value: { etag: "e" } } }] });
  service.handlers["transact"] = () => ({ puts: [{ etag: "e" }], deletes: [], updates: [] });
  const queue = [{ op: "put" as const, key: "a", value: 1 }];
  const batch = state.batch(queue);
  const transact = state.transact({ puts: queue });
  queue.length = 0;
  assert.deepEqual([...(await batch)], [{ ok: true, value: "e" }]);
  assert.deepEqual((await transact).puts, ["e"]);
});

test("where nothing was sent and nothing is in doubt the next attempt is a new request", async (t) => {
  const { service, state, timing } = await begin(t);
  const nothingSent = { reason: "STORE_UNAVAILABLE", metadata: { nothing_sent: "true" } };
  service.handlers["put"] = inTurn(
    new Refusal(Code.UNAVAILABLE, nothingSent),
    UNKNOWN,
    new Refusal(Code.UNAVAILABLE, nothingSent),
    { etag: "e" },
  );
  await state.put("a", 1);
  const sent = service.arrived.map(({ request }) => [request?.number, request?.attempt]);
  assert.deepEqual(sent, [
    [1n, 0],
    [2n, 0],
    [2n, 1],
    [2n, 2],
  ]);
  const [first, second] = service.arrived.map(({ request }) => request?.firstSent?.nanos ?? 0);
  assert.equal((second ?? 0) - (first ?? 0), (timing.pauses[0] ?? 0) * 1e6);
});

test("an error that a repeat does not help is not repeated", async (t) => {
  const { service, state } = await begin(t);
  const refusals = [
    new Refusal(Code.INVALID_ARGUMENT, { reason: "INVALID_FIELDS" }),
    new Refusal(Code.ABORTED, { reason: "ETAG_MISMATCH" }),
    new Refusal(Code.INTERNAL, { reason: "INTERNAL" }),
    new Refusal(Code.RESOURCE_EXHAUSTED, { reason: "OVERLOADED" }),
    new Refusal(Code.RESOURCE_EXHAUSTED, {
      reason: "OVERLOADED",
      retryAfterMs: 1,
      metadata: { limit: "bytes in one answer" },
    }),
    new Refusal(Code.UNKNOWN, { reason: "OUTCOME_UNKNOWN", metadata: { for_good: "true" } }),
  ];
  for (const refusal of refusals) {
    service.arrived.length = 0;
    service.handlers["put"] = inTurn(refusal);
    assert.equal((await failure(state.put("a", 1))).reason, refusal.status.details.length > 0 ? reasonOf(refusal) : "");
    assert.equal(service.arrived.length, 1);
  }
});

function reasonOf(refusal: Refusal): string {
  const [info] = refusal.status.details;
  return /[A-Z_]{5,}/.exec(Buffer.from(info?.value ?? []).toString())?.[0] ?? "";
}

test("a call of a client without retries is made once, with all of its time", async (t) => {
  const { service, state } = await begin(t, { retry: false, timeoutMs: 8_000 });
  service.handlers["get"] = inTurn(UNAVAILABLE);
  assert.equal((await failure(state.get("a"))).kind, "Unavailable");
  assert.equal(service.arrived.length, 1);
  near(service.arrived[0]?.ms, 8_000);
});

test("an attempt has two thirds of the time left, unless that leaves less than a second", async (t) => {
  const { service, state, timing } = await begin(t);
  service.handlers["get"] = inTurn(
    () => {
      timing.now += 6_000;
      throw UNAVAILABLE;
    },
    () => {
      timing.now += 2_000;
      throw UNAVAILABLE;
    },
    { record: recordOf("k", "1") },
  );
  timing.drawn = 0;
  await state.get("k");
  near(service.arrived[0]?.ms, 6_667);
  near(service.arrived[1]?.ms, (3_800 * 2) / 3);
  near(service.arrived[2]?.ms, 1_600);
});

function near(found: number | undefined, expected: number): void {
  assert.ok(found !== undefined && found <= expected + 1 && found > expected - 900, `${found} is not near ${expected}`);
}

test("a pause that does not fit into the time left ends the call with what is known", async (t) => {
  const { service, state, timing } = await begin(t, { timeoutMs: 1_000 });
  service.handlers["get"] = inTurn(new Refusal(Code.UNAVAILABLE, { reason: "STORE_UNAVAILABLE", retryAfterMs: 990 }));
  const error = await failure(state.get("a"));
  assert.equal(error.kind, "Unavailable");
  assert.deepEqual(timing.pauses, []);
});

test("after an attempt whose time was up there is no other with less than a second left", async (t) => {
  const { service, state, timing } = await begin(t, { timeoutMs: 2_500 });
  service.handlers["get"] = () => {
    timing.now += 1_600;
    throw new Refusal(Code.DEADLINE_EXCEEDED, { reason: "DEADLINE_EXCEEDED" });
  };
  assert.equal((await failure(state.get("a"))).kind, "DeadlineExceeded");
  assert.equal(service.arrived.length, 1);
});

test("a write in doubt that fails otherwise later is unknown, with that failure as the cause", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["put"] = inTurn(UNKNOWN, new Refusal(Code.PERMISSION_DENIED, { reason: "PERMISSION_DENIED" }));
  const error = await failure(state.put("a", 1));
  assert.equal(error.kind, "OutcomeUnknown");
  assert.equal((error.cause as AnyKeepstateError).kind, "PermissionDenied");
});

test("what the service has judged is final, also for a write in doubt", async (t) => {
  const { service, state } = await begin(t);
  const judgements = {
    ETAG_MISMATCH: Code.ABORTED,
    RECORD_ALREADY_EXISTS: Code.ALREADY_EXISTS,
    RECORD_NOT_FOUND: Code.NOT_FOUND,
    UPDATE_NOT_APPLICABLE: Code.FAILED_PRECONDITION,
    TRANSACTION_CONFLICT: Code.ABORTED,
  };
  for (const [reason, code] of Object.entries(judgements)) {
    service.handlers["put"] = inTurn(UNKNOWN, new Refusal(code, { reason }));
    assert.equal((await failure(state.put("a", 1))).reason, reason);
  }
  // As a proxy may say, and a later version.
  for (const fields of [{}, { reason: "OF_A_LATER_VERSION" }]) {
    service.handlers["put"] = inTurn(UNKNOWN, new Refusal(Code.ABORTED, fields));
    assert.equal((await failure(state.put("a", 1))).kind, "OutcomeUnknown");
  }
});

test("a connection that is refused sent nothing, and is tried again", async (t) => {
  const timing = new FakeTiming();
  const state = new TestState(`127.0.0.1:${await freePort()}`, { timeoutMs: 2_000 }, timing, json());
  t.after(() => {
    state.connection.close();
  });
  const error = await failure(state.put("a", 1));
  assert.equal(error.kind, "Unavailable");
  assert.ok(error.nothingSent);
  assert.ok(timing.pauses.length >= 3);
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test("a reply that is lost with its connection makes a write's outcome unknown, and it is repeated", async (t) => {
  const { service, state } = await begin(t, { retry: false });
  service.handlers["put"] = () => {
    service.stop();
    return new Promise(() => undefined);
  };
  const error = await failure(state.put("a", 1));
  assert.equal(error.kind, "OutcomeUnknown");
  assert.equal(error.nothingSent, false);
});

test("a write right after its connection broke was not sent on it", async (t) => {
  const { service, state: unused } = await begin(t);
  unused.connection.close();
  const relay = createServer((from) => {
    const to = connect(Number(service.address.split(":")[1]), "127.0.0.1");
    from.pipe(to).pipe(from);
    for (const each of [from, to]) each.on("error", () => undefined);
    relay.once("cut", () => {
      from.resetAndDestroy();
      to.destroy();
    });
  }).listen(0, "127.0.0.1");
  await once(relay, "listening");
  const { port } = relay.address() as AddressInfo;
  const state = new TestState(`127.0.0.1:${port}`, { retry: false }, new FakeTiming(), json());
  t.after(() => {
    state.connection.close();
  });
  service.handlers["put"] = () => ({ etag: "e" });
  await state.put("a", 1);
  relay.close();
  relay.emit("cut");
  const error = await failure(state.put("a", 2));
  assert.equal(error.kind, "Unavailable");
  assert.ok(error.nothingSent);
});

test("a message that is too large is not sent", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["put"] = () => ({ etag: "e" });
  const error = await failure(state.put("a", "x".repeat(16 * 1024 * 1024)));
  assert.equal(error.kind, "ResourceExhausted");
  assert.ok(error.nothingSent);
  assert.equal(service.arrived.length, 0);
});

test("an answer of almost 16 MiB is taken, a larger one is none", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["get"] = inTurn(
    { record: recordOf("k", `"${"x".repeat(16 * 1024 * 1024 - 100)}"`) },
    { record: recordOf("k", `"${"x".repeat(16 * 1024 * 1024)}"`) },
  );
  assert.equal(((await state.get("k")) as string).length, 16 * 1024 * 1024 - 100);
  assert.equal((await failure(state.get("k"))).kind, "ResourceExhausted");
});

test("an aborted signal ends the call at once, and the service is told", async (t) => {
  const { service, state } = await begin(t);
  const stop = new AbortController();
  service.handlers["get"] = () => {
    stop.abort(new Error("no longer wanted"));
    return new Promise(() => undefined);
  };
  const error = await failure(state.get("k", { signal: stop.signal }));
  assert.equal(error.kind, "Cancelled");
  assert.equal((error.cause as Error).message, "no longer wanted");
  await service.arrived[0]?.cancelled;
});

test("a write that is aborted while it is under way is unknown", async (t) => {
  const { service, state } = await begin(t);
  const stop = new AbortController();
  service.handlers["put"] = () => {
    stop.abort();
    return new Promise(() => undefined);
  };
  assert.equal((await failure(state.put("k", 1, { signal: stop.signal }))).kind, "OutcomeUnknown");
  assert.equal(service.arrived.length, 1);
});

test("a signal that is aborted before the call sends nothing", async (t) => {
  const { service, state } = await begin(t);
  const error = await failure(state.put("k", 1, { signal: AbortSignal.abort() }));
  assert.equal(error.kind, "Cancelled");
  assert.ok(error.nothingSent);
  assert.equal(service.arrived.length + service.asked, 0);
});

test("a signal that is aborted in a pause ends the call, which is unknown if it is in doubt", async (t) => {
  const { service, state, timing } = await begin(t);
  const stop = new AbortController();
  timing.whilePausing = () => {
    stop.abort();
  };
  service.handlers["get"] = inTurn(UNAVAILABLE);
  service.handlers["put"] = inTurn(UNKNOWN);
  const { signal } = stop;
  const write = await failure(state.put("k", 1, { signal }));
  assert.equal(write.kind, "OutcomeUnknown");
  assert.equal(write.reason, "OUTCOME_UNKNOWN");

  const again = new AbortController();
  timing.whilePausing = () => {
    again.abort();
  };
  assert.equal((await failure(state.get("k", { signal: again.signal }))).kind, "Cancelled");
  assert.equal(service.arrived.length, 2);
});

test("a pause ends when its signal is aborted", { timeout: 5_000 }, async () => {
  const stop = new AbortController();
  const pause = systemTiming.sleep(60_000, [stop.signal]);
  stop.abort();
  await pause;
});

test("close cuts short what is under way, and later calls are refused", async (t) => {
  const { service, state } = await begin(t);
  const closed = (): Promise<never> => {
    setImmediate(() => {
      state.connection.close();
    });
    return new Promise(() => undefined);
  };
  service.handlers["get"] = closed;
  service.handlers["put"] = closed;
  const [read, write] = await Promise.all([failure(state.get("k")), failure(state.put("k", 1))]);
  assert.equal(read.kind, "Cancelled");
  assert.ok(write.kind === "OutcomeUnknown" || write.kind === "Cancelled");
  await assert.rejects(state.get("k"), UsageError);
});

test("a token and metadata go with every call, also with the one for the time", async (t) => {
  const { service, state } = await begin(t, { token: "secret", metadata: { "dapr-app-id": "keepstate" } });
  service.handlers["put"] = () => ({ etag: "e" });
  service.handlers["getStore"] = () => ({ store: undefined });
  await state.put("a", 1);
  assert.equal(service.arrived.length, 2);
  for (const { metadata } of service.arrived) {
    assert.deepEqual(metadata.get("authorization"), ["Bearer secret"]);
    assert.deepEqual(metadata.get("dapr-app-id"), ["keepstate"]);
    assert.match(String(metadata.get("user-agent")[0]), new RegExp(`^keepstate-node/${VERSION} `));
  }
});

test("a function is asked for the token before each attempt", async (t) => {
  const tokens = ["one", "two", "three"];
  const { service, state } = await begin(t, { token: () => Promise.resolve(tokens.shift() ?? "") });
  service.handlers["get"] = inTurn(UNAVAILABLE, UNAVAILABLE, { record: recordOf("k", "1") });
  await state.get("k");
  const sent = service.arrived.map(({ metadata }) => metadata.get("authorization")[0]);
  assert.deepEqual(sent, ["Bearer one", "Bearer two", "Bearer three"]);
});

test("a token that cannot be had or sent fails the call before anything is sent, and no error shows it", async (t) => {
  const functions = [
    () => Promise.reject(new Error("the vault is shut")),
    () => "hush hush",
    () => "",
    () => undefined as unknown as string,
  ];
  for (const token of functions) {
    const { service, state } = await begin(t, { token });
    const error = await failure(state.put("k", 1));
    assert.equal(error.kind, "Unauthenticated");
    assert.ok(error.nothingSent);
    assert.ok(error.cause instanceof Error);
    assert.doesNotMatch(`${error.message} ${error.cause.message}`, /hush/);
    assert.equal(service.arrived.length + service.asked, 0);
  }
});

test("a function that gives no token in time ends with the attempt", async (t) => {
  const { state, timing } = await begin(t, { token: () => new Promise(() => undefined), retry: false });
  timing.late = true;
  const error = await failure(state.get("k"));
  assert.equal(error.kind, "DeadlineExceeded");
  assert.ok(error.nothingSent);
});

test("calls do not leave listeners on a signal that outlives them", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["get"] = () => ({ record: recordOf("k", "1") });
  const { signal } = new AbortController();
  let listeners = 0;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...given: Parameters<typeof add>) => {
    listeners += 1;
    add(...given);
  };
  signal.removeEventListener = (...given: Parameters<typeof remove>) => {
    listeners -= 1;
    remove(...given);
  };
  await state.get("k", { signal });
  assert.equal(listeners, 0);
});

test("an answer without a message says nothing of a write", async (t) => {
  const server = createHttp2Server().on("stream", (stream) => {
    stream.respond({ "content-type": "application/grpc", "grpc-status": "0" }, { endStream: true });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const state = new TestState(`127.0.0.1:${port}`, { retry: false }, new FakeTiming(), json());
  t.after(() => {
    state.connection.close();
    server.close();
  });
  assert.equal((await failure(state.get("k"))).kind, "Internal");
  assert.equal((await failure(state.put("k", 1))).kind, "OutcomeUnknown");
});

test("a signal that is none is refused", async (t) => {
  const { service, state } = await begin(t);
  for (const signal of [null, {}, "stop"]) {
    await assert.rejects(state.put("k", 1, { signal: signal as never }), { name: "UsageError", message: /signal/ });
  }
  assert.equal(service.arrived.length + service.asked, 0);
});
