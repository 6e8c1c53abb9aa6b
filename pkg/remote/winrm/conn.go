package winrm

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
)

// A conn is one TLS connection to a machine and the log-in that holds on it.
//
// It is not net/http's client: NTLM authenticates a connection, so requests
// must not wander to another one behind our back, nor be sent again by a
// library that thinks it safe, nor follow a redirect or a proxy.
type conn struct {
	raw    net.Conn
	tls    *tls.Conn
	budget *budgetReader
	br     *bufio.Reader
	used   time.Time // when the last answer ended
	dead   bool
}

// maxHeader is how many bytes an answer's header may have beside its body.
const maxHeader = 64 << 10

var errTooBig = errors.New("the machine's answer is too big")

// A budgetReader lets through so many bytes, then fails. An endless header is
// no better than an endless body.
type budgetReader struct {
	r    io.Reader
	left int
}

// Read reads within the budget.
func (b *budgetReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooBig
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// dialConn reaches and trusts the machine; it writes nothing of HTTP.
// cert, when not nil, is shown where the machine asks for one.
func dialConn(ctx context.Context, o Options, e remote.Endpoint, cert *clientCert) (*conn, error) {
	tcp, cancel := context.WithTimeout(ctx, o.Connect)
	defer cancel()
	var d net.Dialer
	raw, err := d.DialContext(tcp, "tcp", e.Address())
	if err != nil {
		return nil, failure(pam.ErrUnreachable, "connect", err)
	}
	config := remote.TLSConfig(e, o.Now)
	cert.join(config)
	c := &conn{raw: raw, tls: tls.Client(raw, config), used: o.Now()}
	handshake, stop := context.WithTimeout(ctx, o.Connect)
	defer stop()
	if err := c.tls.HandshakeContext(handshake); err != nil {
		c.drop()
		if known, ok := errors.AsType[*remote.Error](err); ok {
			return nil, known
		}
		if refusal := refusedInTLS(err); refusal != nil {
			return nil, refusal
		}
		return nil, failure(pam.ErrUnreachable, "negotiate TLS", err)
	}
	c.budget = &budgetReader{r: c.tls}
	c.br = bufio.NewReader(c.budget)
	return c, nil
}

// drop ends the connection at once, without the courtesies that can block.
func (c *conn) drop() {
	c.dead = true
	_ = c.raw.Close()
}

const (
	// idleProbe is how old an unused connection must be before it is doubted.
	idleProbe = 5 * time.Second
	// probeTime is how long the doubt lasts. It must be longer than a busy
	// machine of ours can take to get to the read, or a closed connection passes.
	probeTime = 50 * time.Millisecond
)

// alive reports whether the connection can still carry a request: one that the
// machine closed while it was idle is found here, before anything is written,
// and so is one that holds bytes nobody asked for.
func (c *conn) alive(ctx context.Context, now time.Time) bool {
	if c.dead || c.br.Buffered() > 0 {
		return false
	}
	if now.Sub(c.used) < idleProbe {
		return true
	}
	c.budget.left = 1
	probe, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTime)
	defer cancel()
	stop := c.interruptBy(probe)
	_, err := c.br.Peek(1)
	stop()
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout() && c.raw.SetDeadline(time.Time{}) == nil
}

// interruptBy makes reads and writes fail once ctx is done. The returned func
// reports whether they were left in peace.
func (c *conn) interruptBy(ctx context.Context) func() bool {
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		_ = c.raw.SetDeadline(time.Unix(1, 0))
	})
	return func() bool {
		if stop() {
			return true
		}
		<-fired
		return false
	}
}

// A reply is one answer of HTTP, read to its end.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// roundTrip sends one request and reads its answer before ctx ends. header
// holds whole lines; it and body are the caller's to clear. An error leaves the
// connection dead.
func (c *conn) roundTrip(ctx context.Context, u *url.URL, header, body []byte, now func() time.Time) (*reply, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	stop := c.interruptBy(ctx)
	r, err := c.exchange(ctx, u, header, body)
	quiet := stop()
	c.used = now()
	if err == nil && quiet {
		return r, nil
	}
	c.drop()
	if err == nil {
		return r, nil // complete; only the connection is spoilt
	}
	if cause := ctx.Err(); cause != nil {
		return nil, fmt.Errorf("no answer in time: %w", cause)
	}
	return nil, err
}

func (c *conn) exchange(ctx context.Context, u *url.URL, header, body []byte) (*reply, error) {
	out := make([]byte, 0, len(header)+2*maxHost+512)
	defer func() { clear(out) }()
	out = fmt.Appendf(out, "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: keyturn\r\n"+
		"Content-Type: application/soap+xml;charset=UTF-8\r\nContent-Length: %d\r\n", u.RequestURI(), u.Host, len(body))
	out = append(append(out, header...), "\r\n"...)
	for _, part := range [][]byte{out, body} { // the body is not copied: it may be large, and there are many
		if _, err := c.tls.Write(part); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	c.budget.left = maxAnswer + maxHeader
	for range 4 { // an interim answer, 100 Continue, may come first
		resp, err := http.ReadResponse(c.br, req)
		if err != nil {
			return nil, protocol(err)
		}
		if resp.StatusCode >= http.StatusOK {
			return c.readReply(resp)
		}
		_ = resp.Body.Close()
	}
	return nil, failure(pam.ErrIO, "read the answer", errors.New("the machine never comes to its answer"))
}

// readReply reads a body whole, or not at all. A refused log-in needs no body:
// were a cut one an error like others, the log-in would be tried again.
func (c *conn) readReply(resp *http.Response) (*reply, error) {
	defer func() { _ = resp.Body.Close() }()
	var b bytes.Buffer
	n, err := b.ReadFrom(io.LimitReader(resp.Body, maxAnswer+1))
	whole := err == nil && n <= maxAnswer
	switch {
	case whole:
	case resp.StatusCode == http.StatusUnauthorized:
		b.Reset()
	case err != nil:
		return nil, protocol(err)
	default:
		return nil, failure(pam.ErrIO, "read the answer", errTooBig)
	}
	if resp.Close || !whole {
		c.drop()
	}
	return &reply{status: resp.StatusCode, header: resp.Header, body: b.Bytes()}, nil
}

// protocol tells a broken connection, which may be tried again, from an answer
// that no honest machine gives, which may not.
func protocol(err error) error {
	if refusal := refusedInTLS(err); refusal != nil {
		return refusal
	}
	var broken net.Error
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &broken) {
		return err
	}
	if errors.Is(err, errTooBig) {
		return failure(pam.ErrIO, "read the answer", errTooBig)
	}
	return failure(pam.ErrIO, "read the answer", fmt.Errorf("not HTTP: %s", remote.Clean(err.Error())))
}
