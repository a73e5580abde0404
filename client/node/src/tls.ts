import { createPrivateKey, X509Certificate } from "node:crypto";

import { credentials, type ChannelCredentials } from "@grpc/grpc-js";

import { UsageError } from "./errors.js";

/** An encrypted connection to a service whose certificate is verified. Certificates and keys are in PEM. */
export interface TlsOptions {
  /**
   * The CA that signed the service's certificate. Without it, public CAs: those that come with Node, or those in the
   * file that the variable `GRPC_DEFAULT_SSL_ROOTS_FILE_PATH` names.
   */
  readonly ca?: string | Uint8Array | undefined;
  /** The client's own certificate, and those between it and its CA. For services that demand one. */
  readonly cert?: string | Uint8Array | undefined;
  /** Its private key, without a passphrase. */
  readonly key?: string | Uint8Array | undefined;
  /** The name that the service's certificate must have. By default the host of the address. */
  readonly serverName?: string | undefined;
}

/**
 * What gRPC needs of the options.
 *
 * @throws UsageError a field does not hold what it should.
 */
export function credentialsOf(tls: TlsOptions | boolean | undefined): ChannelCredentials {
  if (tls === undefined || tls === false) return credentials.createInsecure();
  const { ca, cert, key } = tls === true ? {} : tls;
  if ((cert === undefined) !== (key === undefined)) throw new UsageError("give both tls.cert and tls.key, or neither");
  if (ca !== undefined) certificateOf("tls.ca", ca);
  if (cert !== undefined && key !== undefined) mustFit(certificateOf("tls.cert", cert), key);
  return credentials.createSsl(bufferOf(ca), bufferOf(key), bufferOf(cert));
}

function certificateOf(field: string, pem: string | Uint8Array): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch {
    throw new UsageError(`${field} holds no certificate in PEM`);
  }
}

function mustFit(certificate: X509Certificate, pem: string | Uint8Array): void {
  let key;
  try {
    key = createPrivateKey(Buffer.from(pem));
  } catch {
    throw new UsageError("tls.key holds no private key in PEM, or one with a passphrase");
  }
  if (!certificate.checkPrivateKey(key)) throw new UsageError("tls.key is not the key of tls.cert");
}

function bufferOf(pem: string | Uint8Array | undefined): Buffer | null {
  return pem === undefined ? null : Buffer.from(pem);
}
