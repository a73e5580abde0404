import assert from "node:assert/strict";
import { test } from "node:test";

import { parseAddress } from "../src/address.js";
import { Client, UsageError } from "../src/index.js";

for (const address of [
  "localhost",
  "http://localhost:7400",
  "dns:///localhost:7400",
  "https://keepstate.example.com",
  ":7400",
  "localhost:",
  "localhost:0",
  "localhost:65536",
  "localhost:http",
  "::1:7400",
  "[::1]",
  "user@host:7400",
  "host:7400/path",
  "",
]) {
  test(`an address is host and port alone, not ${JSON.stringify(address)}`, () => {
    assert.throws(() => new Client(address), UsageError);
  });
}

test("loopback is localhost, 127.0.0.0/8 and [::1], and nothing that only looks so", () => {
  for (const address of ["localhost:7400", "LOCALHOST:7400", "127.0.0.1:7400", "127.8.9.10:1", "[::1]:7400"]) {
    assert.ok(parseAddress(address).isLoopback, address);
  }
  for (const address of ["127.0.0.1.example.com:7400", "localhost.example.com:7400", "10.0.0.1:7400", "[::2]:7400"]) {
    assert.ok(!parseAddress(address).isLoopback, address);
  }
});

test("a token without TLS is refused, unless the service is on this machine", async () => {
  assert.throws(() => new Client("keepstate.example.com:7400", { token: "secret" }), UsageError);
  assert.throws(() => new Client("10.0.0.1:7400", { token: () => "secret", tls: false }), UsageError);
  await new Client("10.0.0.1:7400", { token: "secret", tls: true }).close();
  await new Client("127.0.0.1:7400", { token: "secret" }).close();
});

test("tls is true, false or an object", () => {
  for (const tls of [null, "true", 1]) {
    assert.throws(() => new Client("localhost:7400", { tls: tls as never }), { name: "UsageError", message: /^tls/ });
  }
});

test("a token that cannot be sent is refused without showing it", () => {
  for (const token of ["", "hush hush", "hush\n", "hüsh", null, 7]) {
    assert.throws(
      () => new Client("localhost:7400", { token: token as string }),
      (error) => error instanceof UsageError && !error.message.includes("h hu") && !error.message.includes("hüsh"),
    );
  }
});

test("metadata that cannot be sent, or is not the caller's to set, is refused", () => {
  for (const [name, value] of Object.entries({
    authorization: "Bearer x",
    "grpc-timeout": "1S",
    "keepstate-time": "now",
    "picture-bin": "x",
    connection: "close",
    Host: "x",
    "content-length": "5",
    "user-agent": "x",
    "two words": "x",
    fine: "line\nbreak",
  })) {
    assert.throws(() => new Client("localhost:7400", { metadata: { [name]: value } }), UsageError, name);
  }
});

test("times that are no times are refused by name", async () => {
  for (const timeoutMs of [0, -1, Number.NaN, Infinity, 2 ** 31]) {
    assert.throws(() => new Client("localhost:7400", { timeoutMs }), /timeoutMs/);
  }
  assert.throws(() => new Client("localhost:7400", { retry: { initialMs: -1 } }), /retry\.initialMs/);
  await using state = new Client("localhost:7400");
  await assert.rejects(state.get("k", { timeoutMs: 0 }), /timeoutMs/);
});
