package keepstate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"

	"google.golang.org/grpc/credentials"
)

// TLS is an encrypted connection to a service whose certificate is verified. The files are in PEM. They are read at New, and
// again for each new connection, so that a renewed certificate needs no new client.
type TLS struct {
	// CA is the file of the CA that signed the service's certificate. Empty: the system's CAs.
	CA string
	// ClientCert is the file of the client's own certificate, and those between it and its CA. For services that demand one.
	ClientCert string
	// ClientKey is the file of its private key, without a passphrase.
	ClientKey string
	// ServerName is the name that the service's certificate must have. Empty: the host of the address.
	ServerName string
}

// config reads and checks the files.
func (t TLS) config() (*tls.Config, error) {
	config := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if (t.ClientCert == "") != (t.ClientKey == "") {
		return nil, usage("TLS: give both ClientCert and ClientKey, or none of them")
	}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, usage("TLS.CA: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usage("TLS.CA: %s holds no certificate in PEM", t.CA)
		}
	}
	if t.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(t.ClientCert, t.ClientKey)
		if err != nil {
			return nil, usage("TLS.ClientCert, TLS.ClientKey: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// tlsCredentials makes the handshake of each connection with what the files hold by then.
type tlsCredentials struct {
	// TransportCredentials are of what the files held at first.
	credentials.TransportCredentials
	files TLS
}

func newTLSCredentials(files TLS) (credentials.TransportCredentials, error) {
	config, err := files.config()
	if err != nil {
		return nil, err
	}
	return &tlsCredentials{TransportCredentials: credentials.NewTLS(config), files: files}, nil
}

// ClientHandshake is that of the embedded credentials, made anew.
func (t *tlsCredentials) ClientHandshake(
	ctx context.Context, authority string, raw net.Conn,
) (net.Conn, credentials.AuthInfo, error) {
	handshake := t.TransportCredentials
	if config, err := t.files.config(); err == nil { // else as while they are being replaced: what was read before may do
		handshake = credentials.NewTLS(config)
	}
	return handshake.ClientHandshake(ctx, authority, raw)
}

// Clone copies the credentials.
func (t *tlsCredentials) Clone() credentials.TransportCredentials {
	return &tlsCredentials{TransportCredentials: t.TransportCredentials.Clone(), files: t.files}
}
