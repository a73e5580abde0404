package keepstate

import (
	"context"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

const defaultTimeout = 10 * time.Second

// Client is a connection to the service, and the view of its default namespace in its default store. It is safe for use by
// many goroutines.
type Client struct {
	*State
}

// Option is a setting of a [Client].
type Option func(*settings) error

// settings is what options fill in.
type settings struct {
	tls      *TLS
	token    func(context.Context) (string, error)
	metadata metadata.MD
	timeout  time.Duration
	retry    *Retry
	// dial is for tests.
	dial []grpc.DialOption
}

// New makes a client of the service at an address, host:port. The connection is opened by the first call.
//
// It fails with ErrUsage if the address or an option is wrong, or a file of TLS cannot be used.
func New(address string, options ...Option) (*Client, error) {
	set := settings{timeout: defaultTimeout, retry: &defaultRetry}
	for _, option := range options {
		if err := option(&set); err != nil {
			return nil, err
		}
	}
	host, err := hostOf(address)
	if err != nil {
		return nil, err
	}
	if set.token != nil && set.tls == nil && !isLoopback(host) {
		return nil, usage("token: it is sent only over TLS, or to this machine's loopback, not to %q in plaintext", host)
	}
	shared, err := connect(address, isLoopback(host), &set)
	if err != nil {
		return nil, err
	}
	return &Client{&State{connection: shared}}, nil
}

// Close cuts short what is under way and lets the connection go. Calls fail from then on; to close once more does nothing.
func (c *Client) Close() error { return c.connection.close() }

// WithTLS has the connection encrypted, and the service's certificate verified. Without it the connection is plaintext.
func WithTLS(files TLS) Option {
	return func(set *settings) error {
		set.tls = &files
		return nil
	}
}

// WithToken sends a token with every call, as "authorization: Bearer <token>". Without TLS it is refused, unless the host is
// this machine's loopback.
func WithToken(token string) Option {
	return func(set *settings) error {
		if !isHeaderValue(token) || token == "" {
			return usage("token: it must be printable ASCII")
		}
		set.token = func(context.Context) (string, error) { return token, nil }
		return nil
	}
}

// WithTokenSource is [WithToken] for tokens that are renewed: source is asked before each attempt, perhaps by many
// goroutines, with the attempt's context, by which it must return. If it fails, so does the call, with ErrUnauthenticated,
// which unwraps to source's error.
func WithTokenSource(source func(context.Context) (string, error)) Option {
	return func(set *settings) error {
		if source == nil {
			return usage("token: the source is nil")
		}
		set.token = source
		return nil
	}
}

var headerName = regexp.MustCompile(`^[0-9a-z_.-]+$`)

// What gRPC says itself, and would drop without a word; and what makes a call a broken one in HTTP/2.
var httpsOwn = regexp.MustCompile(
	`^(content-type|user-agent|te|host|connection|keep-alive|proxy-connection|transfer-encoding|upgrade)$`)

// WithMetadata sends more metadata with every call, e.g. dapr-app-id through Dapr's service invocation. No other is sent:
// that of a call's context is not.
func WithMetadata(values map[string]string) Option {
	return func(set *settings) error {
		set.metadata = metadata.MD{}
		for name, value := range values {
			lower := strings.ToLower(name)
			switch {
			case !headerName.MatchString(lower) || strings.HasSuffix(lower, "-bin"):
				return usage("metadata: %q cannot be a name: letters, digits, '-', '_' and '.'; and not …-bin", name)
			case strings.HasPrefix(lower, "grpc-") || strings.HasPrefix(lower, "keepstate-") || httpsOwn.MatchString(lower):
				return usage("metadata: %q is kept for HTTP, gRPC or the client itself", name)
			case lower == "authorization":
				return usage("metadata: authorization is sent by WithToken and WithTokenSource")
			case !isHeaderValue(value):
				return usage("metadata: the value of %q must be printable ASCII", name)
			}
			set.metadata.Set(lower, value)
		}
		return nil
	}
}

// WithTimeout says how long a call may take whose context has no deadline, with all of its repeats. Default: 10 s.
func WithTimeout(timeout time.Duration) Option {
	return func(set *settings) error {
		if timeout <= 0 {
			return usage("timeout: it must be more than 0, not %v", timeout)
		}
		set.timeout = timeout
		return nil
	}
}

// WithRetry takes other pauses before calls are repeated. Default: up to 50 ms at first, up to 1 s at last.
func WithRetry(retry Retry) Option {
	return func(set *settings) error {
		if retry.Initial < 0 || retry.Limit < 0 {
			return usage("retry: a pause cannot be less than 0")
		}
		if retry.Initial == 0 {
			retry.Initial = defaultRetry.Initial
		}
		if retry.Limit == 0 {
			retry.Limit = defaultRetry.Limit
		}
		set.retry = &retry
		return nil
	}
}

// WithoutRetry has no call repeated.
func WithoutRetry() Option {
	return func(set *settings) error {
		set.retry = nil
		return nil
	}
}

// hostAndPort has no character that a gRPC target, which is a URL, would take for something else.
var hostAndPort = regexp.MustCompile(`^(?:([^\s:/?#%@\[\]\\]+)|\[([0-9A-Fa-f:.]+)\]):([0-9]{1,5})$`)

// hostOf takes an address apart.
func hostOf(address string) (string, error) {
	if strings.Contains(address, "/") {
		return "", usage("address: it must be host:port, without a scheme: %q", address)
	}
	parts := hostAndPort.FindStringSubmatch(address)
	if parts == nil {
		return "", usage("address: it must be host:port: %q", address)
	}
	if number, err := strconv.ParseUint(parts[3], 10, 16); err != nil || number == 0 {
		return "", usage("address: its port must be a number from 1 to 65535: %q", address)
	}
	return parts[1] + parts[2], nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && (ip.Is4() && ip.IsLoopback() || ip == netip.IPv6Loopback())
}

// isHeaderValue tells whether HTTP/2 can carry it as it is.
func isHeaderValue(value string) bool {
	for _, char := range []byte(value) {
		if char < ' ' || char > '~' {
			return false
		}
	}
	return true
}
