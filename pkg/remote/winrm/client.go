package winrm

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// A client posts envelopes to one machine, over one connection at a time, and
// logs in again where that connection was lost.
type client struct {
	o      Options
	t      remote.Target // its Password is the client's own copy
	cert   *clientCert   // nil without one
	url    *url.URL
	scheme scheme
	conn   *conn
	// refused is set for good once the machine refused us: an account is not
	// locked out by our trying again.
	refused *remote.Error
}

func newClient(o Options, t remote.Target) (*client, error) {
	if !validHost(t.Host) || t.Port < 1 || t.Port > 65535 {
		return nil, failure(pam.ErrUnreachable, "read the record", errors.New("the host or port is not one"))
	}
	cert, err := certOf(t)
	if err != nil {
		return nil, inconclusive(err)
	}
	if cert == nil && (t.Password.IsZero() || t.User == "") {
		return nil, inconclusive(errors.New("WinRM needs a user name and a password, or a private key with its certificate"))
	}
	host, _, _ := strings.Cut(t.Host, "%") // a zone is no part of the name on the wire
	wire := remote.Endpoint{Host: host, Port: t.Port}
	c := &client{o: o, t: t, cert: cert, url: &url.URL{Scheme: "https", Host: wire.Address(), Path: "/wsman"}}
	c.t.PrivateKey = secret.Value{}
	if cert != nil {
		c.scheme, c.t.Password = mutual, secret.Value{}
		return c, nil
	}
	c.t.Password = t.Password.Clone()
	return c, nil
}

// maxHost is how long a name of DNS can be.
const maxHost = 255

// validHost keeps what could break a header or an envelope out of them.
func validHost(host string) bool {
	return host != "" && len(host) <= maxHost && !strings.ContainsFunc(host, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`<>&"'/\@?#[]`, r)
	})
}

// forget ends the connection and destroys the password.
func (c *client) forget() {
	c.hangUp()
	c.cert = nil
	c.t.Password.Destroy()
}

func (c *client) hangUp() {
	if c.conn != nil {
		c.conn.drop()
		c.conn = nil
	}
}

// A request is one envelope on its way.
type request struct {
	op     string
	action string // that its answer must name
	body   []byte
	// again allows a second log-in where the machine forgot the first: only for
	// what changes nothing.
	again bool
	// out, when set, is called just before the body is written.
	out func()
}

// post sends r and returns its answer. It connects and logs in where there is
// no connection. Errors are *remote.Error; a refusal in the machine's own words
// wraps a *Fault.
func (c *client) post(ctx context.Context, r request) (*answer, error) {
	if c.refused != nil {
		return nil, c.refused
	}
	rep, err := c.deliver(ctx, r)
	if err == nil && rep.status == http.StatusUnauthorized && r.again {
		c.hangUp()
		rep, err = c.deliver(ctx, r)
	}
	if err != nil {
		c.hangUp()
		return nil, c.judge(r.op, err)
	}
	a, err := understand(rep, r.action)
	if rep.status == http.StatusUnauthorized {
		err = inconclusive(errors.New("the machine asks for a log-in again"))
	}
	if err != nil {
		return nil, c.judge(r.op, err)
	}
	return a, nil
}

// judge types an error and remembers those after which nothing must be tried.
func (c *client) judge(op string, err error) error {
	var known *remote.Error
	var fault *Fault
	switch {
	case errors.As(err, &known):
	case errors.As(err, &fault), errors.Is(err, errAnswer):
		known = failure(pam.ErrIO, op, err)
	default:
		known = failure(pam.ErrUnreachable, op, err)
	}
	if known.Kind == pam.ErrAuthFailed || known.Kind == pam.ErrUntrusted {
		c.refused = known
		c.hangUp()
	}
	return known
}

// deliver carries r over the connection that is there, or over a new one.
func (c *client) deliver(ctx context.Context, r request) (*reply, error) {
	if c.conn != nil && !c.conn.alive(ctx, c.o.Now()) {
		c.hangUp()
	}
	if c.conn == nil {
		return c.logIn(ctx, r)
	}
	var header []byte
	switch c.scheme {
	case basic:
		header = basicHeader(c.t)
	case mutual:
		header = []byte(mutualHeader)
	default: // NTLM has proven the connection
	}
	defer clear(header)
	return c.write(ctx, r, header)
}

// write sends the body itself, under the deadline of one request.
func (c *client) write(ctx context.Context, r request, header []byte) (*reply, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Operation+c.o.Grace)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.out != nil {
		r.out()
	}
	return c.conn.roundTrip(ctx, c.url, header, r.body, c.o.Now)
}

// understand reads an answer: its status, its fault and its action must all
// say yes.
func understand(rep *reply, action string) (*answer, error) {
	if rep.status >= 300 && rep.status < 400 {
		return nil, failure(pam.ErrIO, "read the answer", errors.New("the machine redirects, and redirects are not followed"))
	}
	a, err := parseAnswer(rep.body)
	switch {
	case err == nil && a.fault != nil:
		a.fault.Status = rep.status
		return nil, a.fault
	case rep.status != http.StatusOK:
		return nil, &Fault{Status: rep.status}
	case err != nil:
		return nil, err
	case a.action != action:
		return nil, failure(pam.ErrIO, "read the answer", errors.New("the machine answers another question"))
	}
	return a, nil
}
