import assert from "node:assert/strict";
import { test } from "node:test";

import { status as Code } from "@grpc/grpc-js";

import { UsageError } from "../src/errors.js";
import type { GetRequest, SnapshotRequest, TransactRequest } from "../src/gen/keepstate/v1/state_service.js";
import { begin } from "./support/client.js";
import { inTurn, recordOf, Refusal, type FakeService } from "./support/fake_service.js";

const DONE = { puts: [], deletes: [], updates: [] };
const ABSENT = { condition: { $case: "absent", value: true } };
const etag = (value: string): object => ({ condition: { $case: "etag", value } });

/** Has `get` answer with these values, by key, with etags "e-<key>". */
function keep(service: FakeService, records: Record<string, string>): void {
  service.handlers["get"] = ({ message }) => {
    const key = (message as GetRequest).name?.key ?? "";
    const value = records[key];
    if (value === undefined) throw new Refusal(Code.NOT_FOUND, { reason: "RECORD_NOT_FOUND" });
    return { record: recordOf(key, value, `e-${key}`) };
  };
}

function committed(service: FakeService): TransactRequest {
  const found = service.arrived.find(({ method }) => method === "transact");
  assert.ok(found);
  return found.message as TransactRequest;
}

function conflictOver(key: string, code = Code.ABORTED, reason = "ETAG_MISMATCH"): Refusal {
  return new Refusal(code, { reason, metadata: { store: "main", namespace: "", key, etag: "e9" } });
}

test("what was read becomes a check, what was read and written a condition, and all goes as one", async (t) => {
  const { service, state } = await begin(t);
  keep(service, { a: "1", b: "2" });
  service.handlers["transact"] = () => DONE;
  const returned = await state.transaction(async (tx) => {
    assert.equal(await tx.get("a"), 1);
    assert.equal(await tx.get("b"), 2);
    assert.equal(await tx.get("none"), undefined);
    assert.equal(await tx.get("new"), undefined);
    tx.put("b", 3, { ttlMs: 1_000 });
    tx.put("new", 4);
    tx.delete("unread");
    tx.increment("n", 5n);
    return "left";
  });
  assert.equal(returned, "left");
  const message = committed(service);
  assert.deepEqual(
    message.checks.map(({ name, precondition }) => [name?.key, precondition]),
    [
      ["a", etag("e-a")],
      ["none", ABSENT],
    ],
  );
  assert.deepEqual(
    message.puts.map(({ name, precondition, request }) => [name?.key, precondition, request]),
    [
      ["b", etag("e-b"), undefined],
      ["new", ABSENT, undefined],
    ],
  );
  assert.deepEqual(
    message.deletes.map(({ name, precondition }) => [name?.key, precondition]),
    [["unread", undefined]],
  );
  assert.deepEqual(message.updates[0]?.update, {
    $case: "increment",
    value: { delta: 5n, initial: undefined, minimum: undefined, maximum: undefined },
  });
  assert.equal(message.request?.number, 1n);
});

test("a record is read once", async (t) => {
  const { service, state } = await begin(t);
  keep(service, { a: "1" });
  await state.transaction(async (tx) => {
    await tx.get("a");
    await tx.namespace("").getRecord("a");
  });
  assert.equal(service.arrived.length, 1); // and one record that was only read needs no commit
});

test("two reads at one time of a record that changes in between see the same", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["get"] = inTurn({ record: recordOf("a", "1") }, { record: recordOf("a", "2", "e2") });
  const [one, other] = await state.transaction((tx) => Promise.all([tx.get("a"), tx.get("a")]));
  assert.equal(one, other);
});

test("what the transaction has put reads as put, and what it has deleted as missing", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["transact"] = () => DONE;
  await state.transaction(async (tx) => {
    tx.put("a", { n: 1 });
    const record = await tx.getRecord("a");
    assert.deepEqual(record?.value, { n: 1 });
    assert.equal(record.etag, "");
    tx.delete("b");
    assert.equal(await tx.get("b"), undefined);
    tx.append("l", [1]);
    await assert.rejects(tx.get("l"), UsageError);
  });
  assert.equal(service.arrived.length, 1);
});

test("a second write replaces the first, keeps its condition and, if it keeps the expiry, its expiry", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["transact"] = () => DONE;
  await state.transaction((tx) => {
    tx.put("a", 1, { ifEtag: "e1", ttlMs: 1_000 });
    tx.put("a", 2, { keepExpiry: true });
    tx.put("b", 1, { ttlMs: 1_000 });
    tx.put("b", 2);
    tx.delete("c", { ifExists: true });
    tx.put("c", 2, { keepExpiry: true });
  });
  const found = committed(service).puts.map(({ value, precondition, expiry }) => [
    Buffer.from(value).toString(),
    precondition,
    expiry,
  ]);
  assert.deepEqual(found, [
    ["2", etag("e1"), { $case: "ttl", value: { seconds: 1n, nanos: 0 } }],
    ["2", undefined, undefined],
    ["2", { condition: { $case: "exists", value: true } }, undefined],
  ]);
});

test("two writes that cannot be one are a usage error", async (t) => {
  const { state } = await begin(t);
  await state
    .transaction((tx) => {
      tx.increment("n");
      assert.throws(() => {
        tx.put("n", 1);
      }, UsageError);
      tx.put("a", 1);
      assert.throws(() => {
        tx.increment("a");
      }, UsageError);
      assert.throws(() => {
        tx.put("a", 2, { ifAbsent: true });
      }, UsageError);
      throw new UsageError("enough");
    })
    .catch((error: unknown) => {
      assert.match(String(error), /enough/);
    });
});

test("a delete of a record that must be absent becomes a check", async (t) => {
  const { service, state } = await begin(t);
  keep(service, {});
  service.handlers["transact"] = () => DONE;
  await state.transaction(async (tx) => {
    await tx.get("none");
    tx.delete("none");
    tx.put("a", 1);
  });
  const message = committed(service);
  assert.deepEqual(
    message.checks.map(({ name, precondition }) => [name?.key, precondition]),
    [["none", ABSENT]],
  );
  assert.equal(message.deletes.length, 0);
});

test("a condition of the caller's own is tested against what was read, and is not tried again", async (t) => {
  const { service, state } = await begin(t);
  keep(service, { a: "1" });
  const write =
    (key: string, options: object) =>
    async (tx: { get(key: string): Promise<unknown>; put(key: string, value: number, options: object): void }) => {
      await tx.get(key);
      tx.put(key, 2, options);
    };
  await assert.rejects(state.transaction(write("a", { ifAbsent: true })), { kind: "AlreadyExists", etag: "e-a" });
  await assert.rejects(state.transaction(write("a", { ifEtag: "e0" })), { kind: "Conflict", etag: "e-a" });
  await assert.rejects(state.transaction(write("none", { ifExists: true })), { kind: "NotFound" });
  await assert.rejects(state.transaction(write("none", { ifEtag: "e0" })), { kind: "Conflict", etag: undefined });
  assert.ok(service.arrived.every(({ method }) => method === "get"));
});

test("several records that were only read are compared with a snapshot", async (t) => {
  const { service, state } = await begin(t);
  keep(service, { a: "1", b: "2" });
  const unchanged = { items: [{ record: recordOf("a", "1", "e-a") }, { record: recordOf("b", "2", "e-b") }] };
  const changed = { items: [{ record: recordOf("a", "1", "e-a") }, { record: undefined }] };
  service.handlers["snapshot"] = inTurn(changed, unchanged);
  let runs = 0;
  await state.transaction(async (tx) => {
    runs += 1;
    await Promise.all([tx.get("a"), tx.get("b")]);
  });
  assert.equal(runs, 2);
  const asked = service.arrived.find(({ method }) => method === "snapshot")?.message as SnapshotRequest;
  assert.deepEqual(
    asked.names.map(({ key }) => key),
    ["a", "b"],
  );
});

test("a function that does nothing sends nothing", async (t) => {
  const { service, state } = await begin(t);
  assert.equal(await state.transaction(() => 7), 7);
  assert.equal(service.arrived.length + service.asked, 0);
});

test("where others came between the function runs again, after a pause, with a new request", async (t) => {
  const { service, state, timing } = await begin(t);
  keep(service, { a: "1" });
  service.handlers["transact"] = inTurn(
    new Refusal(Code.ABORTED, { reason: "TRANSACTION_CONFLICT" }),
    conflictOver("a"),
    conflictOver("a", Code.NOT_FOUND, "RECORD_NOT_FOUND"),
    DONE,
  );
  let runs = 0;
  await state.transaction(async (tx) => {
    runs += 1;
    await tx.get("a"); // asked for in the default store, which the answers name
    tx.put("a", runs);
  });
  assert.equal(runs, 4);
  assert.deepEqual(timing.pauses, [25, 50, 100]);
  const numbers = service.arrived.filter(({ method }) => method === "transact").map(({ request }) => request?.number);
  assert.deepEqual(numbers, [1n, 2n, 3n, 4n]);
});

test("a conflict over a record that was not read is the caller's own, and is not tried again", async (t) => {
  const { service, state } = await begin(t);
  keep(service, { a: "1" });
  service.handlers["transact"] = inTurn(conflictOver("b"));
  const run = state.transaction(async (tx) => {
    await tx.get("a");
    tx.put("b", 1, { ifEtag: "e1" });
  });
  await assert.rejects(run, { kind: "Conflict", etag: "e9" });
});

test("the function runs as often as it may, and then the conflict is told", async (t) => {
  const { service, state } = await begin(t);
  keep(service, { a: "1" });
  service.handlers["transact"] = () => {
    throw conflictOver("a");
  };
  for (const [options, expected] of [
    [{}, 10],
    [{ tries: 2 }, 2],
  ] as const) {
    let runs = 0;
    const run = state.transaction(async (tx) => {
      runs += 1;
      await tx.get("a");
      tx.put("a", 1);
    }, options);
    await assert.rejects(run, { kind: "Conflict" });
    assert.equal(runs, expected);
  }
  await assert.rejects(
    state.transaction(() => 1, { tries: 0 }),
    UsageError,
  );
});

test("all tries are within the time of the whole", async (t) => {
  const { service, state, timing } = await begin(t);
  keep(service, { a: "1" });
  service.handlers["transact"] = () => {
    timing.now += 600;
    throw conflictOver("a");
  };
  let runs = 0;
  const run = state.transaction(
    async (tx) => {
      runs += 1;
      await tx.get("a");
      tx.put("a", 1);
    },
    { timeoutMs: 1_000 },
  );
  await assert.rejects(run, { kind: "Conflict" });
  assert.equal(runs, 2);
});

test("what the function throws passes through, and nothing is applied", async (t) => {
  const { service, state } = await begin(t);
  const own = new Error("not enough");
  const run = state.transaction((tx) => {
    tx.put("a", 1);
    throw own;
  });
  await assert.rejects(run, own);
  assert.equal(service.arrived.length, 0);
});

test("reads and writes after the function has returned are usage errors", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["transact"] = () => DONE;
  const late = await state.transaction((tx) => {
    tx.put("a", 1);
    return tx;
  });
  await assert.rejects(late.get("a"), UsageError);
  assert.throws(() => {
    late.put("b", 1);
  }, UsageError);
});

test("views within a transaction have their own namespace, store and codec", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["transact"] = () => DONE;
  await state.transaction((tx) => {
    tx.namespace("audit").store("second").append("moves", [1]);
  });
  assert.deepEqual(committed(service).updates[0]?.name, { store: "second", namespace: "audit", key: "moves" });
});
