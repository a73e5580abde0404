/** What a line of the suite asks for, as docs/clients/conformance.md says. */
export interface Command {
  readonly id: number;
  readonly do: string;
  readonly client: string;
  readonly call: number;
  readonly timeout_ms?: number;

  // connect
  readonly address: string;
  readonly retry?: boolean;
  readonly token?: string;
  readonly metadata?: Record<string, string>;
  readonly tls?: { ca?: string; client_cert?: string; client_key?: string; server_name?: string };

  // several
  readonly operations?: readonly Fields[];
  readonly checks?: readonly Fields[];
  readonly puts?: readonly Fields[];
  readonly deletes?: readonly Fields[];
  readonly updates?: readonly Fields[];
  readonly names?: readonly Fields[];
  readonly steps?: readonly Fields[];
  readonly late?: Fields;
  readonly tries?: number;
}

/** What an operation, a check, a name or a step has. */
export interface Fields {
  readonly do: string;
  readonly key: string;
  readonly namespace?: string;
  readonly store?: string;
  readonly name?: string;
  readonly value?: string;
  readonly content_type?: string;
  readonly if_absent?: boolean;
  readonly if_exists?: boolean;
  readonly if_etag?: string;
  readonly ttl_ms?: number;
  readonly expire_time?: string;
  readonly keep_expiry?: boolean;
  readonly slide_ttl_ms?: number;
  readonly consistency?: "strong" | "eventual";
  readonly delta?: string;
  readonly initial?: string;
  readonly minimum?: string;
  readonly maximum?: string;
  readonly items?: readonly string[];
  readonly max_length?: number;
  readonly patch?: string;
}
