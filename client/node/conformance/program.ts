/** The conformance suite's program in TypeScript: it makes the calls that it is told with the Node client. */
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

import { Client, type CallOptions, type Encoded, type State, type Transaction } from "../src/index.js";
import { VERSION } from "../src/channel.js";
import type { Command, Fields } from "./commands.js";
import * as notation from "./notation.js";
import { Raised, raw } from "./notation.js";

type Answer = Record<string, unknown>;

const clients = new Map<string, Client<Encoded>>();
const cancelling = new Map<number, AbortController>();
const resuming = new Map<number, () => void>();

function write(line: Answer): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

async function perform(command: Command): Promise<Answer> {
  switch (command.do) {
    case "hello":
      return { language: "node", version: VERSION };
    case "connect":
      connect(command);
      return {};
    case "close":
      await clientOf(command).close();
      clients.delete(command.client);
      return {};
    case "cancel":
      cancelling.get(command.call)?.abort();
      return {};
    case "resume":
      resuming.get(command.call)?.();
      return {};
    default:
      return call(command);
  }
}

function connect(command: Command & Partial<Fields>): void {
  const { address, namespace, store, timeout_ms, token, metadata, tls } = command;
  const file = (path: string | undefined): Buffer | undefined => (path === undefined ? undefined : readFileSync(path));
  const client = new Client(address, {
    codec: raw,
    namespace,
    store,
    timeoutMs: timeout_ms,
    retry: command.retry === false ? false : undefined,
    token,
    metadata,
    tls: tls && {
      ca: file(tls.ca),
      cert: file(tls.client_cert),
      key: file(tls.client_key),
      serverName: tls.server_name,
    },
  });
  clients.set(command.client, client);
}

function clientOf({ client }: Command): Client<Encoded> {
  const found = clients.get(client);
  if (found === undefined) throw new Error(`there is no client ${client}`);
  return found;
}

async function call(command: Command): Promise<Answer> {
  const cancelled = new AbortController();
  cancelling.set(command.id, cancelled);
  const options = { timeoutMs: command.timeout_ms, signal: cancelled.signal };
  const { namespace, store } = command as Partial<Fields>;
  let view: State<Encoded> = clientOf(command);
  if (namespace !== undefined) view = view.namespace(namespace);
  if (store !== undefined) view = view.store(store);
  try {
    switch (command.do) {
      case "batch":
        return await batch(view, command, options);
      case "transact":
        return await transact(view, command, options);
      case "transaction":
        return await transaction(view, command, options);
      case "snapshot": {
        const found = await view.snapshot((command.names ?? []).map(notation.namedOf), options);
        return { records: found.map(notation.answerOfRecord) };
      }
      case "store":
        return notation.answerOfStore(await view.storeInfo(options));
      case "stores":
        return { stores: (await view.stores(options)).map(notation.answerOfStore) };
      default:
        return await one(view, command as unknown as Fields, options);
    }
  } finally {
    cancelling.delete(command.id);
  }
}

/** One operation as a call of its own. */
async function one(view: State<Encoded>, fields: Fields, options: CallOptions): Promise<Answer> {
  const given = { ...notation.optionsOf(fields), ...options };
  const { key } = fields;
  switch (fields.do) {
    case "get":
      return notation.answerOf("get", await view.getRecord(key, given));
    case "put":
      return notation.answerOf("put", await view.put(key, notation.encodedOf(fields), given));
    case "delete":
      return notation.answerOf("delete", await view.delete(key, given));
    case "touch": {
      const touch = { ...notation.operationOf(fields), ...options } as Parameters<typeof view.touch>[1];
      return notation.answerOf("touch", await view.touch(key, touch));
    }
    default:
      return notation.answerOf(fields.do, await view.update(notation.updateOf(fields), options));
  }
}

async function batch(view: State<Encoded>, command: Command, options: CallOptions): Promise<Answer> {
  const asked = command.operations ?? [];
  const results = await view.batch(asked.map(notation.operationOf), options);
  return {
    results: results.map((result, index) =>
      result.ok
        ? { ok: notation.answerOf(asked[index]?.do ?? "", result.value) }
        : { error: notation.answerOfError(result.error) },
    ),
  };
}

async function transact(view: State<Encoded>, command: Command, options: CallOptions): Promise<Answer> {
  const { checks = [], puts = [], deletes = [], updates = [] } = command;
  const done = await view.transact(
    {
      checks: checks.map(notation.checkOf),
      puts: puts.map((each) => ({ ...notation.checkOf(each), value: notation.encodedOf(each) })),
      deletes: deletes.map((each) => notation.checkOf(each) as { key: string }),
      updates: updates.map(notation.updateOf),
    },
    options,
  );
  return {
    puts: done.puts.map((etag) => notation.answerOf("put", etag)),
    deletes: done.deletes.map((existed) => notation.answerOf("delete", existed)),
    updates: done.updates.map((updated) => notation.answerOf("update", updated)),
  };
}

async function transaction(view: State<Encoded>, command: Command, options: CallOptions): Promise<Answer> {
  let reads: unknown[] = [];
  let runs = 0;
  let last: Transaction<Encoded> | undefined;
  await view.transaction(
    async (tx) => {
      last = tx;
      reads = [];
      runs += 1;
      for (const each of command.steps ?? []) await step(tx, each, command.id, runs, reads);
    },
    { ...options, tries: command.tries },
  );
  if (last !== undefined && command.late !== undefined) await step(last, command.late, command.id, runs, []);
  return { reads, runs };
}

async function step(
  tx: Transaction<Encoded>,
  fields: Fields,
  id: number,
  run: number,
  reads: unknown[],
): Promise<void> {
  let view = fields.namespace === undefined ? tx : tx.namespace(fields.namespace);
  view = fields.store === undefined ? view : view.store(fields.store);
  const options = notation.optionsOf(fields);
  switch (fields.do) {
    case "get":
      reads.push(notation.answerOfRecord(await view.getRecord(fields.key)));
      break;
    case "put":
      view.put(fields.key, notation.encodedOf(fields), options);
      break;
    case "delete":
      view.delete(fields.key, options);
      break;
    case "add": {
      const found = await view.get(fields.key);
      const sum = BigInt(found === undefined ? 0 : Buffer.from(found.data).toString()) + BigInt(fields.delta ?? 0);
      view.put(fields.key, { data: Buffer.from(sum.toString()), contentType: "application/json" });
      break;
    }
    case "pause":
      if (run > 1) break;
      write({ id, paused: fields.name, run });
      await new Promise<void>((resolve) => resuming.set(id, resolve));
      break;
    case "fail":
      throw new Raised("the function's own error");
    default:
      tx.update(notation.updateOf(fields));
  }
}

async function answer(line: string): Promise<void> {
  const command = JSON.parse(line) as Command;
  try {
    write({ id: command.id, ok: await perform(command) });
  } catch (error) {
    write({ id: command.id, error: notation.answerOfError(error) });
  }
}

for await (const line of createInterface({ input: process.stdin })) void answer(line);
for (const client of clients.values()) await client.close();
