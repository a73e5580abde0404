import { json, type Codec } from "./codecs.js";
import { Connection } from "./connection.js";
import type { RetryOptions } from "./attempts.js";
import type { Token } from "./channel.js";
import { State } from "./state.js";
import type { TlsOptions } from "./tls.js";

/** How a client is made. */
export interface ClientOptions<V = unknown> {
  /** How values become bytes, unless a view has another codec. JSON by default. */
  readonly codec?: Codec<V> | undefined;
  /** Empty, the default: the default namespace. */
  readonly namespace?: string | undefined;
  /** The Dapr state component that keeps the records. Empty, the default: the service's default store. */
  readonly store?: string | undefined;
  /** How long a call may take, with its repeats, unless the call has its own time. 10,000 by default. */
  readonly timeoutMs?: number | undefined;
  /** How calls are repeated when the service is unavailable or an answer was lost. False: not at all. */
  readonly retry?: RetryOptions | false | undefined;
  /** How the connection is encrypted; true: with a certificate of a public CA. By default not at all. */
  readonly tls?: TlsOptions | boolean | undefined;
  /**
   * Sent with each call as `authorization: Bearer …`; a function is asked before each attempt, since tokens are renewed.
   * It needs `tls`, unless the service is on this machine's loopback.
   */
  readonly token?: Token | undefined;
  /** More metadata, the same with every call, e.g. `dapr-app-id`. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
}

/**
 * A client of the state service, and the view of its default namespace and store.
 *
 * Make one and keep it: it has one connection, opened by the first call, which all calls and views share. An idle client
 * does not keep the process alive.
 */
export class Client<V = unknown> extends State<V> implements AsyncDisposable {
  readonly #connection: Connection;

  /**
   * Makes a client. Nothing is sent yet.
   *
   * @param address host and port, e.g. "localhost:7400".
   * @throws UsageError the address has a scheme or no port, or an option is not what it should be.
   */
  constructor(address: string, options: ClientOptions<V> = {}) {
    const { codec = json<V>(), namespace = "", store = "" } = options;
    const connection = new Connection(address, options);
    super(connection, { store, namespace, codec });
    this.#connection = connection;
  }

  /** Closes the connection. Calls that are under way are cut short; later ones reject with a UsageError. */
  close(): Promise<void> {
    this.#connection.close();
    return Promise.resolve();
  }

  /** Closes the connection, at the end of an `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
