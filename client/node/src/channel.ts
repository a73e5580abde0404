import { Client, Metadata, type ChannelOptions, type ClientUnaryCall, type ServiceError } from "@grpc/grpc-js";

import { parseAddress } from "./address.js";
import { UsageError } from "./errors.js";
import { credentialsOf, type TlsOptions } from "./tls.js";
import { whenAborted } from "./time.js";

/** The largest message that the service takes and that is taken from it, in bytes. */
const MAX_MESSAGE = 16 * 1024 * 1024;

/** This package's version. */
export const VERSION = "0.1.0";

/** A token, or what is asked for one before each attempt, since tokens are renewed. */
export type Token = string | (() => string | Promise<string>);

/** What a connection is made of. */
export interface ChannelSettings {
  readonly tls?: TlsOptions | boolean | undefined;
  readonly token?: Token | undefined;
  readonly metadata?: Readonly<Record<string, string>> | undefined;
}

/** A method of a service, as the stubs have it. */
export interface Method<Req, Res> {
  readonly path: string;
  readonly requestSerialize: (message: Req) => Buffer;
  readonly responseDeserialize: (packed: Buffer) => Res;
}

/** How one attempt is made. */
export interface Attempt {
  readonly ms: number;
  /** The token to send. Undefined: none. */
  readonly token: string | undefined;
  readonly signals: readonly AbortSignal[];
}

/** One connection to the service, opened by the first call. */
export class Channel {
  readonly #client: Client;
  readonly #metadata: Metadata;

  /** @throws UsageError the address or a setting is not what it should be. */
  constructor(address: string, { tls, token, metadata = {} }: ChannelSettings) {
    const { target, isLoopback } = parseAddress(address);
    if (tls !== undefined && typeof tls !== "boolean" && (typeof tls !== "object" || (tls as unknown) === null)) {
      throw new UsageError("tls must be true, false or an object");
    }
    const serverName = typeof tls === "object" ? tls.serverName : undefined;
    if (token !== undefined && (tls === undefined || tls === false) && !isLoopback) {
      throw new UsageError("token needs tls, unless the service is on this machine: others could read it");
    }
    if (token !== undefined && typeof token !== "function") checkToken(token);
    this.#metadata = metadataOf(metadata);
    this.#client = new Client(target, credentialsOf(tls), optionsOf(isLoopback, serverName));
  }

  /** Calls the service once. What it rejects with is gRPC's own. */
  unary<Req, Res>(
    method: Method<Req, Res>,
    message: Req,
    attempt: Attempt,
  ): Promise<{ answer: Res; trailers: Metadata }> {
    const metadata = this.#metadata.clone();
    if (attempt.token !== undefined) metadata.set("authorization", `Bearer ${attempt.token}`);
    const packed = method.requestSerialize(message);
    return new Promise((resolve, reject) => {
      let answer: Res | undefined;
      const call: ClientUnaryCall = this.#client.makeUnaryRequest(
        method.path,
        (bytes: Buffer) => bytes,
        method.responseDeserialize,
        packed,
        metadata,
        { deadline: Date.now() + Math.max(attempt.ms, 0) },
        (error: ServiceError | null, found?: Res) => {
          if (error !== null) {
            forget();
            reject(error);
          }
          answer = found;
        },
      );
      const forget = whenAborted(attempt.signals, () => {
        call.cancel();
      });
      // It comes after the callback, and has what the callback lacks.
      call.on("status", (status) => {
        forget();
        resolve({ answer: answer as Res, trailers: status.metadata });
      });
    });
  }

  /** Lets the connection go. */
  close(): void {
    this.#client.close();
  }
}

/** @throws UsageError it cannot be sent. The words do not have it. */
export function checkToken(token: unknown): asserts token is string {
  if (typeof token !== "string" || !/^[\x21-\x7e]+$/.test(token)) {
    throw new UsageError("token must be one or more visible ASCII characters without spaces");
  }
}

/** Names that HTTP/2 forbids, or that gRPC says itself: it would pass over the caller's. */
const OF_HTTP: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "content-type",
  "host",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade",
  "user-agent",
]);

function metadataOf(given: Readonly<Record<string, string>>): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(given)) {
    const key = name.toLowerCase();
    if (key === "authorization") throw new UsageError("metadata.authorization must be given as token");
    if (!/^[0-9a-z_.-]+$/.test(key) || key.endsWith("-bin")) {
      throw new UsageError(`metadata ${JSON.stringify(name)} is no name of text metadata`);
    }
    if (/^(grpc|keepstate)-/.test(key) || OF_HTTP.has(key)) throw new UsageError(`metadata.${name}: the name is taken`);
    if (typeof value !== "string" || !/^[\x20-\x7e]*$/.test(value)) {
      throw new UsageError(`metadata.${name} must be printable ASCII`);
    }
    metadata.set(key, value);
  }
  return metadata;
}

function optionsOf(isLoopback: boolean, serverName: string | undefined): ChannelOptions {
  return {
    ...(serverName === undefined ? {} : { "grpc.ssl_target_name_override": serverName }),
    // What http_proxy names cannot reach this machine's loopback.
    ...(isLoopback ? { "grpc.enable_http_proxy": 0 } : {}),
    "grpc.max_send_message_length": MAX_MESSAGE,
    "grpc.max_receive_message_length": MAX_MESSAGE,
    "grpc.keepalive_time_ms": 60_000, // the service lets clients ping every 10 s; proxies may not
    "grpc.keepalive_timeout_ms": 20_000,
    "grpc.keepalive_permit_without_calls": 1, // so that a dead connection is noticed before the next call
    "grpc.initial_reconnect_backoff_ms": 100, // a second by default: longer than a service needs to restart
    "grpc.max_reconnect_backoff_ms": 5_000,
    // What is repeated is decided here, with the request's attempt counted, and not by gRPC's service config (C6).
    "grpc.enable_retries": 0,
    "grpc.service_config_disable_resolution": 1,
    // A connection of its own: what one client closes, another one does not use.
    "grpc.use_local_subchannel_pool": 1,
    "grpc.primary_user_agent": `keepstate-node/${VERSION}`,
  };
}
