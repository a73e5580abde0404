package keepstate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	pb "github.com/keepstate/keepstate/client/go/keepstatev1"
)

// authority is a CA that lives as long as a test.
type authority struct {
	t      *testing.T
	folder string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	file   string
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, folder: t.TempDir()}
	a.cert, a.key = a.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
	a.file = a.write("ca.pem", "CERTIFICATE", a.cert.Raw)
	return a
}

func (a *authority) sign(template *x509.Certificate, by *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	template.SerialNumber, template.Subject = serial, pkix.Name{CommonName: "keepstate test"}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return made, key
}

// issue writes a certificate for a name, and its key.
func (a *authority) issue(file, name string) (cert, key string) {
	template := &x509.Certificate{DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	if name != "localhost" {
		template.IPAddresses = nil
	}
	made, private := a.sign(template, a)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.write(file+".pem", "CERTIFICATE", made.Raw), a.write(file+".key", "PRIVATE KEY", encoded)
}

func (a *authority) write(name, kind string, der []byte) string {
	path := filepath.Join(a.folder, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// serveTLS starts a service with a certificate for a name on a port of this machine, and returns its address.
func serveTLS(t *testing.T, own *authority, name string, clients *authority) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(own.issue("server", name))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}}
	if clients != nil {
		config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		config.ClientCAs.AddCert(clients.cert)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	service := &fakeService{t: t, scripts: map[string][]answer{}, calls: map[string][]seenCall{}}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)), grpc.UnaryInterceptor(service.serve))
	pb.RegisterStateServiceServer(server, pb.UnimplementedStateServiceServer{})
	pb.RegisterStoreServiceServer(server, pb.UnimplementedStoreServiceServer{})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

// putBy puts a record once, over TLS.
func putBy(t *testing.T, address string, files TLS) error {
	t.Helper()
	client, err := New(address, WithTLS(files), WithoutRetry(), WithToken("secret"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = client.Put(t.Context(), "k", nil)
	return err
}

func TestTheServicesCertificateIsVerified(t *testing.T) {
	own, other := newAuthority(t), newAuthority(t)
	address := serveTLS(t, own, "localhost", nil)
	if err := putBy(t, address, TLS{CA: own.file}); err != nil {
		t.Error(err)
	}
	for words, files := range map[string]TLS{
		"signed by unknown authority":   {CA: other.file},
		"certificate is valid for":      {CA: own.file, ServerName: "keepstate.example.com"},
		"failed to verify certificate:": {},
	} {
		err := putBy(t, address, files)
		equal(t, "nothing sent", mustBe(t, err, ErrUnavailable).NothingSent, true)
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%v does not say %q", err, words)
		}
	}
}

func TestTheNameInTheServicesCertificateMayBeAnotherThanTheHosts(t *testing.T) {
	own := newAuthority(t)
	address := serveTLS(t, own, "keepstate.test", nil)
	if err := putBy(t, address, TLS{CA: own.file, ServerName: "keepstate.test"}); err != nil {
		t.Error(err)
	}
}

func TestAClientShowsItsCertificate(t *testing.T) {
	own := newAuthority(t)
	address := serveTLS(t, own, "localhost", own)
	cert, key := own.issue("client", "billing")
	if err := putBy(t, address, TLS{CA: own.file, ClientCert: cert, ClientKey: key}); err != nil {
		t.Error(err)
	}
	err := putBy(t, address, TLS{CA: own.file})
	equal(t, "nothing sent", mustBe(t, err, ErrUnavailable).NothingSent, true)
}

func TestARenewedCertificateNeedsNoNewClient(t *testing.T) {
	own, old := newAuthority(t), newAuthority(t)
	address := serveTLS(t, own, "localhost", own)
	cert, key := old.issue("client", "billing") // the service does not accept it any more
	client := must[*Client](t)(New(address, WithTLS(TLS{CA: own.file, ClientCert: cert, ClientKey: key})))
	defer client.Close()
	renewedCert, renewedKey := own.issue("renewed", "billing")
	for from, to := range map[string]string{renewedCert: cert, renewedKey: key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	must[string](t)(client.Put(t.Context(), "k", nil))
}
