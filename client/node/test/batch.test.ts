import assert from "node:assert/strict";
import { test } from "node:test";

import { status as Code } from "@grpc/grpc-js";

import type { AnyKeepstateError } from "../src/errors.js";
import type { BatchRequest, BatchResult } from "../src/gen/keepstate/v1/state_service.js";
import { begin } from "./support/client.js";
import { inTurn, recordOf, Refusal, statusOf, type Arrived, type RefusalFields } from "./support/fake_service.js";

const put = (etag: string): BatchResult => ({ result: { $case: "put", value: { etag } } });
const got = (key: string, value: string): BatchResult =>
  ({ result: { $case: "get", value: { record: recordOf(key, value) } } }) as unknown as BatchResult;
const failed = (code: Code, fields: RefusalFields = {}): BatchResult => ({
  result: { $case: "error", value: statusOf(code, fields) },
});
const unavailable = failed(Code.UNAVAILABLE, { reason: "STORE_UNAVAILABLE" });
const unknown = failed(Code.UNKNOWN, { reason: "OUTCOME_UNKNOWN" });
const missing = failed(Code.NOT_FOUND, { reason: "RECORD_NOT_FOUND" });

/** What each batch that arrived had: the kind, the key, the request's number and its attempt. */
function sent(arrived: readonly Arrived[]): string[][] {
  return arrived.map(({ message }) =>
    (message as BatchRequest).operations.map(({ operation }) => {
      const { name, ...rest } = operation?.value ?? { name: undefined };
      const request = "request" in rest ? rest.request : undefined;
      return [operation?.$case, name?.key, request && `${request.number}/${request.attempt}`].filter(Boolean).join(" ");
    }),
  );
}

test("each operation has its own result, in the order asked", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["batch"] = () => ({
    results: [
      got("a", "[1]"),
      put("e2"),
      { result: { $case: "delete", value: { existed: true } } },
      { result: { $case: "touch", value: { etag: "e3", expireTime: { seconds: 1_900_000_000n, nanos: 5_999_999 } } } },
      { result: { $case: "update", value: { record: recordOf("n", "9223372036854775807"), repeated: true } } },
      missing,
      missing,
    ],
  });
  const results = await state.batch([
    { op: "get", key: "a" },
    { op: "put", key: "b", value: 1 },
    { op: "delete", key: "c" },
    { op: "touch", key: "d", ttlMs: 1_000 },
    { op: "increment", key: "n" },
    { op: "get", key: "none" },
    { op: "touch", key: "none", never: true },
  ]);
  const [read, written, deleted, touched, updated, none, failure] = results;
  assert.ok(read.ok && written.ok && deleted.ok && touched.ok && updated.ok && none.ok);
  assert.deepEqual(read.value?.value, [1]);
  assert.equal(written.value, "e2");
  assert.equal(deleted.value, true);
  assert.deepEqual(touched.value, { etag: "e3", expireTime: new Date(1_900_000_000_005) });
  assert.equal(updated.value.record?.value, 9223372036854775807n);
  assert.ok(updated.value.repeated);
  assert.equal(none.value, undefined);
  assert.ok(!failure.ok);
  assert.equal(failure.error.kind, "NotFound");
});

test("operations that failed for now are sent again in a batch of their own, each with its own request", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["batch"] = inTurn(
    { results: [put("e1"), unknown, got("c", "3"), unavailable] },
    {
      results: [put("e2"), got("d", "4")],
    },
  );
  const results = await state.batch([
    { op: "put", key: "a", value: 1 },
    { op: "put", key: "b", value: 2 },
    { op: "get", key: "c" },
    { op: "get", key: "d" },
  ]);
  assert.deepEqual(sent(service.arrived), [
    ["put a 1/0", "put b 2/0", "get c", "get d"],
    ["put b 2/1", "get d"],
  ]);
  assert.ok(results.every((result) => result.ok));
});

test("an operation is not sent again if it would overtake a later one on its record that has its answer", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["batch"] = inTurn(
    { results: [unknown, unavailable, put("e3"), unavailable, unavailable, put("e6")] },
    { results: [put("e4")] },
  );
  const results = await state.batch([
    { op: "put", key: "a", value: 1 },
    { op: "get", key: "a", store: "main" }, // the default store has two names
    { op: "put", key: "a", value: 3 },
    { op: "put", key: "a", value: 4 },
    { op: "put", key: "b", value: 5 },
    { op: "put", key: "b", value: 6 },
  ]);
  assert.deepEqual(sent(service.arrived)[1], ["put a 3/1"]);
  assert.deepEqual(
    results.map((result) => (result.ok ? "ok" : result.error.kind)),
    ["OutcomeUnknown", "Unavailable", "ok", "ok", "Unavailable", "ok"],
  );
});

test("where the batch fails as a whole that is the failure of each operation, and of a read none is unknown", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["batch"] = inTurn(
    { results: [unavailable, unavailable, put("e")] },
    new Refusal(Code.DATA_LOSS, { message: "lost" }),
    new Refusal(Code.PERMISSION_DENIED, { reason: "PERMISSION_DENIED" }),
  );
  const results = await state.batch([
    { op: "get", key: "a" },
    { op: "put", key: "b", value: 2 },
    { op: "put", key: "c", value: 3 },
  ]);
  assert.deepEqual(
    results.map((result) => (result.ok ? "ok" : result.error.kind)),
    ["Internal", "OutcomeUnknown", "ok"],
  );
});

test("a batch of which nothing was answered fails, as unknown if an operation may have been applied", async (t) => {
  const { service, state } = await begin(t);
  const operations = [
    { op: "get", key: "a" },
    { op: "put", key: "b", value: 2 },
  ] as const;
  service.handlers["batch"] = inTurn(new Refusal(Code.INVALID_ARGUMENT, { reason: "INVALID_FIELDS" }));
  await assert.rejects(state.batch(operations), { kind: "InvalidArgument" });
  service.handlers["batch"] = inTurn(
    new Refusal(Code.UNKNOWN, { message: "lost" }),
    new Refusal(Code.PERMISSION_DENIED, { reason: "PERMISSION_DENIED" }),
  );
  await assert.rejects(state.batch(operations), { kind: "OutcomeUnknown" });
});

test("an answer with too few results is no answer", async (t) => {
  const { service, state } = await begin(t, { retry: false });
  service.handlers["batch"] = () => ({ results: [] });
  await assert.rejects(state.batch([{ op: "get", key: "a" }]), { kind: "Internal" });
  await assert.rejects(state.batch([{ op: "put", key: "a", value: 1 }]), { kind: "OutcomeUnknown" });
});

test("a result of another kind than the operation is a fault", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["batch"] = () => ({ results: [put("e")] });
  const [result] = await state.batch([{ op: "get", key: "a" }]);
  assert.ok(!result.ok);
  assert.equal(result.error.kind satisfies AnyKeepstateError["kind"], "Internal");
});

test("the pause before a batch is drawn once, not for each operation", async (t) => {
  const { service, state, timing } = await begin(t);
  const draws = [0.4, 0.9];
  timing.random = () => draws.shift() ?? 1;
  service.handlers["batch"] = inTurn({ results: [unavailable, unavailable] }, { results: [got("a", "1"), put("e")] });
  await state.batch([
    { op: "get", key: "a" },
    { op: "put", key: "b", value: 2 },
  ]);
  assert.deepEqual(timing.pauses, [20]);
});

test("a batch that is cancelled in a pause is cancelled, unless an operation is in doubt or has its answer", async (t) => {
  const { service, state, timing } = await begin(t);
  let stop = new AbortController();
  timing.whilePausing = () => {
    stop.abort();
  };
  const operations = [
    { op: "get", key: "a" },
    { op: "put", key: "b", value: 2 },
  ] as const;
  service.handlers["batch"] = inTurn(new Refusal(Code.UNAVAILABLE, { reason: "STORE_UNAVAILABLE" }));
  await assert.rejects(state.batch(operations, { signal: stop.signal }), { kind: "Cancelled" });
  stop = new AbortController();
  service.handlers["batch"] = inTurn(new Refusal(Code.UNKNOWN, { reason: "OUTCOME_UNKNOWN" }));
  await assert.rejects(state.batch(operations, { signal: stop.signal }), { kind: "OutcomeUnknown" });
  stop = new AbortController();
  service.handlers["batch"] = inTurn({ results: [unavailable, put("e")] });
  const [read, written] = await state.batch(operations, { signal: stop.signal });
  assert.ok(!read.ok && written.ok);
});
