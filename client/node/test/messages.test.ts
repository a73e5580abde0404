import assert from "node:assert/strict";
import { test } from "node:test";

import { bytes, json, text, type Codec } from "../src/codecs.js";
import { EncodeError, UsageError } from "../src/errors.js";
import { Consistency } from "../src/gen/keepstate/v1/record.js";
import type { PutRequest, SnapshotRequest, UpdateRequest } from "../src/gen/keepstate/v1/state_service.js";
import { getMessage, putMessage, timestampOf, touchMessage, updateMessage } from "../src/messages.js";
import type { Condition, Expiry } from "../src/operations.js";
import { begin } from "./support/client.js";
import { recordOf } from "./support/fake_service.js";

const scope = { store: "", namespace: "", codec: json() };

function put(options: object, key = "k"): PutRequest {
  return putMessage(scope, { key, value: 1, ...options }, undefined);
}

test("conditions exclude each other, and expiries too", () => {
  for (const options of [
    { ifAbsent: true, ifExists: true },
    { ifAbsent: true, ifEtag: "e" },
    { ifExists: true, ifEtag: "e" },
    { ttlMs: 1, expireAt: new Date() },
    { ttlMs: 1, keepExpiry: true },
    { expireAt: new Date(), keepExpiry: true },
  ]) {
    assert.throws(() => put(options), UsageError, JSON.stringify(options));
  }
  for (const expiry of [{}, { ttlMs: 1, never: true }, { ttlMs: 1, expireAt: new Date() }]) {
    assert.throws(() => touchMessage(scope, { key: "k", ...expiry } as never, undefined), UsageError);
  }
});

test("the types allow one condition and one expiry", () => {
  const one: Condition & Expiry = { ifEtag: "e", ttlMs: 1 };
  // @ts-expect-error two conditions
  const conditions: Condition = { ifAbsent: true, ifEtag: "e" };
  // @ts-expect-error two expiries
  const expiries: Expiry = { ttlMs: 1, keepExpiry: true };
  assert.ok(one);
  assert.throws(() => put(conditions), UsageError);
  assert.throws(() => put(expiries), UsageError);
});

test("each condition and expiry is sent as what it is", () => {
  assert.deepEqual(put({ ifAbsent: true }).precondition, { condition: { $case: "absent", value: true } });
  assert.deepEqual(put({ ifExists: true }).precondition, { condition: { $case: "exists", value: true } });
  assert.deepEqual(put({ ifEtag: "" }).precondition, { condition: { $case: "etag", value: "" } });
  assert.equal(put({ ifAbsent: false, ifExists: undefined }).precondition, undefined);
  const time = { seconds: -1n, nanos: 250_000_000 };
  assert.deepEqual(put({ ttlMs: 1_500.25 }).expiry, { $case: "ttl", value: { seconds: 1n, nanos: 500_250_000 } });
  assert.deepEqual(put({ expireAt: new Date(-750) }).expiry, { $case: "expireTime", value: time });
  assert.deepEqual(put({ keepExpiry: true }).expiry, { $case: "keepExpiry", value: true });
  assert.equal(put({}).expiry, undefined);
});

test("a read says where to read, and how far to move the expiry", () => {
  const message = getMessage(scope, { key: "k", consistency: "eventual", slideTtlMs: 2_000 });
  assert.equal(message.consistency, Consistency.EVENTUAL);
  assert.deepEqual(message.slideTtl, { seconds: 2n, nanos: 0 });
  assert.throws(() => getMessage(scope, { key: "k", consistency: "weak" as never }), UsageError);
});

test("what is no operation is refused by name", async (t) => {
  const { service, state } = await begin(t);
  await assert.rejects(state.batch([{ op: "steal", key: "k" } as never]), /op "steal"/);
  await assert.rejects(state.update({ op: "double", key: "k" } as never), /op "double"/);
  await assert.rejects(state.transact({ checks: [{ key: "k" }] }), /ifAbsent, ifExists or ifEtag/);
  assert.equal(service.arrived.length + service.asked, 0);
});

test("wrong arguments are refused by name", () => {
  assert.throws(() => put({ ttlMs: Number.NaN }), /ttlMs/);
  assert.throws(() => put({ ttlMs: "1" }), /ttlMs/);
  assert.throws(() => put({ ttlMs: 1e300 }), /ttlMs/);
  for (const name of ["ifAbsent", "ifExists", "keepExpiry"]) {
    for (const value of [null, 0, "no"])
      assert.throws(() => put({ [name]: value }), new RegExp(`^UsageError: ${name}`));
  }
  assert.throws(() => put({ expireAt: new Date(Number.NaN) }), /expireAt/);
  assert.throws(() => put({ ifEtag: 7 }), /ifEtag/);
  assert.throws(() => put({}, 7 as never), /key/);
  assert.throws(() => put({}, "half \ud800"), /key/);
  assert.throws(() => put({ namespace: "\udc00" }), /namespace/);
  assert.throws(() => put({ namespace: null }), /namespace/);
  assert.throws(
    () =>
      putMessage(
        { ...scope, codec: { encode: () => null as never, decode: () => 1 } },
        { key: "k", value: 1 },
        undefined,
      ),
    UsageError,
  );
});

test("numbers of 64 bits are sent exactly, and others refused", () => {
  const change = (fields: object): UpdateRequest["update"] =>
    updateMessage(scope, { op: "increment", key: "n", ...fields }, undefined).update;
  const limit = 2n ** 63n;
  assert.deepEqual(change({ delta: -limit, initial: limit - 1n, minimum: 5, maximum: 0n }), {
    $case: "increment",
    value: { delta: -limit, initial: limit - 1n, minimum: 5n, maximum: 0n },
  });
  for (const delta of [limit, -limit - 1n, 1.5, 2 ** 53, Number.NaN, "1", null]) {
    assert.throws(() => change({ delta }), /delta/);
  }
});

test("items and patches are JSON, or JSON text as it stands", () => {
  const append = updateMessage(scope, { op: "append", key: "l", items: [1, Buffer.from("1.10")] }, undefined);
  assert.ok(append.update?.$case === "append");
  assert.deepEqual(
    append.update.value.items.map((item) => Buffer.from(item).toString()),
    ["1", "1.10"],
  );
  assert.throws(() => updateMessage(scope, { op: "append", key: "l", items: [undefined] }, undefined), EncodeError);
  assert.throws(
    () => updateMessage(scope, { op: "append", key: "l", items: [], maxLength: 0.5 }, undefined),
    /maxLength/,
  );
});

test("what must be an array is refused by name", async (t) => {
  const { service, state } = await begin(t);
  const none = undefined as never;
  await assert.rejects(state.batch(none), { name: "UsageError", message: /operations/ });
  await assert.rejects(state.append("l", "ab" as never), { name: "UsageError", message: /items/ });
  await assert.rejects(state.snapshot("k" as never), { name: "UsageError", message: /names/ });
  for (const field of ["checks", "puts", "deletes", "updates"]) {
    await assert.rejects(state.transact({ [field]: {} }), { name: "UsageError", message: new RegExp(field) });
  }
  await assert.rejects(state.transaction(none), UsageError);
  assert.equal(service.arrived.length + service.asked, 0);
});

test("a length of time is whole seconds and a part below one, of one sign", () => {
  const ttl = (ttlMs: number): unknown => put({ ttlMs }).expiry?.value;
  assert.deepEqual(ttl(1_999.9999999), { seconds: 2n, nanos: 0 });
  assert.deepEqual(ttl(999.999), { seconds: 0n, nanos: 999_999_000 });
  assert.deepEqual(ttl(-1_500), { seconds: -1n, nanos: -500_000_000 });
  assert.deepEqual(ttl(2 ** 53 - 1), { seconds: 9_007_199_254_740n, nanos: 991_000_000 });
});

test("a time is sent to the microsecond", () => {
  assert.deepEqual(timestampOf(Date.UTC(9999, 11, 31, 23, 59, 59, 999)), {
    seconds: 253_402_300_799n,
    nanos: 999_000_000,
  });
  assert.deepEqual(timestampOf(999.9999999), { seconds: 1n, nanos: 0 });
  assert.deepEqual(timestampOf(1_500.0005), { seconds: 1n, nanos: 500_001_000 });
  assert.deepEqual(timestampOf(-0.25), { seconds: -1n, nanos: 999_750_000 });
});

function comesBack<V>(codec: Codec<V>, value: V, contentType: string): void {
  const encoded = codec.encode(value);
  assert.equal(encoded.contentType, contentType);
  assert.deepEqual(codec.decode(encoded), value);
}

test("codecs bring back what they were given", () => {
  comesBack(json(), { a: [1, null, "ä"], "": false }, "application/json");
  comesBack(json(), null, "application/json");
  comesBack(text, "\ufeffé\u0000", "text/plain");
  comesBack(bytes, Uint8Array.from([0, 255, 128]), "application/octet-stream");
});

test("a codec reads what has no content type, but not what has another", () => {
  const data = Buffer.from("1");
  for (const contentType of ["", "application/json", "application/problem+json", "Application/JSON; charset=utf-8"]) {
    assert.equal(json().decode({ data, contentType }), 1);
  }
  assert.equal(text.decode({ data, contentType: "text/html" }), "1");
  assert.throws(() => json().decode({ data, contentType: "text/plain" }));
  assert.throws(() => text.decode({ data, contentType: "application/json" }));
  assert.deepEqual(bytes.decode({ data, contentType: "image/png" }), data);
});

test("what cannot be encoded is not sent, and no error shows a value", async (t) => {
  const { service, state } = await begin(t);
  const circle: unknown[] = ["hush"];
  circle.push(circle);
  for (const value of [undefined, () => 1, 1n, circle]) await assert.rejects(state.put("k", value), EncodeError);
  await assert.rejects(state.using(text).put("k", "hush \ud800"), EncodeError);
  assert.equal(service.arrived.length + service.asked, 0);

  service.handlers["get"] = () => ({ record: recordOf("k", "hush") });
  await assert.rejects(state.get("k"), (error: Error) => {
    assert.equal(error.name, "DecodeError");
    assert.doesNotMatch(`${error.message} ${String(error.cause)}`, /hush/);
    return true;
  });
});

test("a record's times are dates, its value does not hold the whole answer", async (t) => {
  const { service, state } = await begin(t);
  const createTime = { seconds: 1_900_000_000n, nanos: 123_999_999 };
  service.handlers["get"] = () => ({ record: { ...recordOf("k", "[1]"), createTime } });
  const record = await state.getRecord("k");
  assert.deepEqual(record, {
    name: { store: "main", namespace: "", key: "k" },
    value: [1],
    data: new Uint8Array(Buffer.from("[1]")),
    contentType: "application/json",
    etag: "e1",
    createTime: new Date(1_900_000_000_123),
    updateTime: undefined,
    expireTime: undefined,
  });
  assert.equal(record.data.buffer.byteLength, 3);
});

test("an update answers with what it left, and says whether it was a repeat", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["update"] = () => ({ record: recordOf("n", "-9223372036854775808"), repeated: true });
  assert.equal(await state.increment("n"), -(2n ** 63n));
  const updated = await state.update({ op: "increment", key: "n" });
  assert.ok(updated.repeated);
  service.handlers["update"] = () => ({ record: undefined, repeated: true });
  assert.equal((await state.update({ op: "append", key: "l", items: [1] })).record, undefined);
  await assert.rejects(state.append("l", [1]), { kind: "NotFound", record: { store: "", namespace: "", key: "l" } });
});

test("an answer to transact that has not one result for each write leaves the outcome unknown", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["transact"] = () => ({ puts: [{ etag: "e" }], deletes: [], updates: [] });
  assert.deepEqual((await state.transact({ puts: [{ key: "a", value: 1 }] })).puts, ["e"]);
  await assert.rejects(state.transact({ puts: [], deletes: [{ key: "a" }] }), { kind: "OutcomeUnknown" });
});

test("views have their own namespace, store and codec, and an operation may name others", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["put"] = () => ({ etag: "e" });
  service.handlers["snapshot"] = ({ message }) => ({
    items: (message as SnapshotRequest).names.map(({ key }) => ({
      record: key === "a" ? recordOf(key, "1") : undefined,
    })),
  });
  const view = state.namespace("chat").store("second").using(text);
  await view.put("k", "hello");
  const put = service.arrived[0]?.message as PutRequest;
  assert.deepEqual(put.name, { store: "second", namespace: "chat", key: "k" });
  assert.equal(put.contentType, "text/plain");

  const found = await state.namespace("chat").snapshot(["a", { key: "b", namespace: "", store: "third" }]);
  assert.deepEqual(
    found.map((record) => record?.value),
    [1, undefined],
  );
  assert.deepEqual((service.arrived[1]?.message as SnapshotRequest).names, [
    { store: "", namespace: "chat", key: "a" },
    { store: "third", namespace: "", key: "b" },
  ]);
});

test("a snapshot with too few records is a fault", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["snapshot"] = () => ({ items: [] });
  await assert.rejects(state.snapshot(["a"]), { kind: "Internal" });
});

test("a merge patch answers with the value that it left", async (t) => {
  const { service, state } = await begin(t);
  service.handlers["update"] = () => ({ record: recordOf("k", '{"a":1}'), repeated: false });
  assert.deepEqual(await state.mergePatch("k", { a: 1, b: null }), { a: 1 });
  const { update } = service.arrived[0]?.message as UpdateRequest;
  assert.ok(update?.$case === "mergePatch");
  assert.equal(Buffer.from(update.value.patch).toString(), '{"a":1,"b":null}');
});

test("the store of a view is described", async (t) => {
  const { service, state } = await begin(t);
  const store = { name: "second", componentType: "state.redis", componentVersion: "v1", isDefault: false };
  service.handlers["getStore"] = () => ({ store: { ...store, promises: [], durability: "" } });
  assert.deepEqual(await state.store("second").storeInfo(), { ...store, promises: [], durability: "" });
  assert.equal((service.arrived[0]?.message as { name: string }).name, "second");
});

test("a store's promise that is kept in an unknown way is told as its number", async (t) => {
  const { service, state } = await begin(t);
  const promise = { number: 1, title: "existence", reason: "" };
  service.handlers["listStores"] = () => ({
    stores: [
      {
        name: "main",
        componentType: "state.redis",
        componentVersion: "v1",
        isDefault: true,
        durability: "",
        promises: [
          { ...promise, keeping: 1 },
          { ...promise, keeping: 77 },
        ],
      },
    ],
  });
  const [store] = await state.stores();
  assert.deepEqual(
    store?.promises.map(({ keeping, keepingNumber }) => [keeping, keepingNumber]),
    [
      ["native", 1],
      ["unknown", 77],
    ],
  );
});
