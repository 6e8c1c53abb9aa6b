package winrm

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/Azure/go-ntlmssp"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
)

// A scheme is a way to log in, by its name in the header.
type scheme string

const (
	negotiate scheme = "Negotiate"
	ntlm      scheme = "NTLM"
	basic     scheme = "Basic"
	mutual    scheme = "certificate" // a certificate of the client's, in TLS
)

// maxChallenge bounds what a machine may challenge us with, in base64; real
// ones have some 300 bytes.
const maxChallenge = 8 << 10

// logIn opens a connection, logs in on it, and carries r as the first request
// of the session: its answer is the proof that the log-in was accepted. The
// steps before it have no body, so a body is written once.
func (c *client) logIn(ctx context.Context, r request) (*reply, error) {
	if err := c.prepare(ctx); err != nil {
		return nil, err
	}
	header, err := c.credential(ctx)
	if err != nil {
		return nil, err
	}
	defer clear(header)
	rep, err := c.write(ctx, r, header)
	if err == nil && rep.status == http.StatusUnauthorized {
		if c.cert != nil {
			return nil, c.cert.refused()
		}
		return nil, failure(pam.ErrAuthFailed, "log in", errors.New("the machine refused user name or password"))
	}
	return rep, err
}

// prepare connects and, once for each session, asks how to log in.
func (c *client) prepare(ctx context.Context) error {
	var err error
	if c.conn, err = c.dial(ctx); err != nil || c.scheme != "" {
		return err
	}
	rep, err := c.ask(ctx, nil)
	if err != nil {
		return err
	}
	if rep.status != http.StatusUnauthorized {
		if rep.status == http.StatusOK {
			return failure(pam.ErrIO, "log in", errors.New("the server asks for no log-in, so it is not WinRM"))
		}
		_, err := understand(rep, "")
		return err
	}
	if c.scheme, err = choose(rep.header); err != nil {
		return inconclusive(err)
	}
	if c.conn.dead {
		c.conn, err = c.dial(ctx)
	}
	return err
}

func (c *client) dial(ctx context.Context) (*conn, error) {
	return dialConn(ctx, c.o, c.t.Endpoint, c.cert)
}

// ask posts nothing, with header, to hear what the machine says of log-ins.
func (c *client) ask(ctx context.Context, header []byte) (*reply, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Connect)
	defer cancel()
	return c.conn.roundTrip(ctx, c.url, header, nil, c.o.Now)
}

// choose picks the scheme that shows least of the password: NTLM in either
// name, then Basic, which is no worse than TLS.
func choose(h http.Header) (scheme, error) {
	offered := offers(h)
	for _, s := range []scheme{negotiate, ntlm, basic} {
		if slices.ContainsFunc(offered, func(o string) bool { return strings.EqualFold(o, string(s)) }) {
			return s, nil
		}
	}
	return "", errors.New("the machine offers neither Negotiate nor NTLM nor Basic")
}

// offers lists the first words of the challenges in h, commas in quotes aside.
func offers(h http.Header) []string {
	var out []string
	for _, v := range h.Values("Www-Authenticate") {
		quoted := false
		parts := strings.FieldsFunc(v[:min(len(v), maxChallenge)], func(r rune) bool {
			if r == '"' {
				quoted = !quoted
			}
			return r == ',' && !quoted
		})
		for _, p := range parts {
			word, _, _ := strings.Cut(strings.TrimSpace(p), " ")
			out = append(out, word)
		}
	}
	return out
}

// credential returns the header line that proves who we are. For NTLM that
// takes one exchange on the very connection that it is good for.
func (c *client) credential(ctx context.Context) ([]byte, error) {
	if c.scheme == mutual {
		return []byte(mutualHeader), nil
	}
	if c.scheme == basic {
		if strings.Contains(c.t.User, ":") {
			return nil, inconclusive(errors.New("a user name with a colon cannot log in with Basic"))
		}
		return basicHeader(c.t), nil
	}
	hello, err := ntlmssp.NewNegotiateMessage("", "")
	if err != nil {
		return nil, failure(pam.ErrInternal, "log in", err)
	}
	rep, err := c.ask(ctx, authorization(c.scheme, hello))
	if err != nil {
		return nil, err
	}
	challenge, err := challengeOf(rep, c.scheme)
	if err != nil {
		return nil, inconclusive(err)
	}
	if c.conn.dead {
		return nil, failure(pam.ErrIO, "log in", errors.New("the machine hung up in the middle of the log-in"))
	}
	proof, err := prove(challenge, c.t)
	if err != nil {
		return nil, inconclusive(err)
	}
	defer clear(proof)
	return authorization(c.scheme, proof), nil
}

// challengeOf finds the machine's challenge in its answer.
func challengeOf(rep *reply, s scheme) ([]byte, error) {
	if rep.status != http.StatusUnauthorized {
		return nil, fmt.Errorf("the machine answered the log-in with status %d", rep.status)
	}
	for _, v := range rep.header.Values("Www-Authenticate") {
		name, token, found := strings.Cut(v, " ")
		if !found || !strings.EqualFold(name, string(s)) {
			continue
		}
		if len(token) > maxChallenge {
			return nil, errors.New("the machine's challenge is too long")
		}
		b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(token))
		if err != nil || len(b) == 0 {
			return nil, errors.New("the machine's challenge is not base64")
		}
		return b, nil
	}
	return nil, fmt.Errorf("the machine offers %s and then does not speak NTLM", s)
}

// prove answers a challenge. The library reads bytes of the machine there, so
// even its panic is only a failed log-in.
func prove(challenge []byte, t remote.Target) (proof []byte, err error) {
	defer func() {
		if recover() != nil {
			proof, err = nil, errors.New("the machine's challenge is not NTLM")
		}
	}()
	proof, err = ntlmssp.NewAuthenticateMessage(challenge, account(t.User), string(t.Password.Reveal()), nil)
	if err != nil {
		return nil, fmt.Errorf("the machine's challenge is not NTLM: %s", remote.Clean(err.Error()))
	}
	return proof, nil
}

// account is a user's name on the wire. The dot of ".\user" means the machine
// there, which only a client can know: without a domain the machine looks among
// its own users first.
func account(user string) string { return strings.TrimPrefix(user, `.\`) }

func basicHeader(t remote.Target) []byte {
	pair := append(append([]byte(account(t.User)), ':'), t.Password.Reveal()...)
	defer clear(pair)
	return authorization(basic, pair)
}

// authorization is a whole header line.
func authorization(s scheme, token []byte) []byte {
	const name, end = "Authorization: ", "\r\n"
	out := make([]byte, 0, len(name)+len(s)+1+base64.StdEncoding.EncodedLen(len(token))+len(end))
	out = append(append(append(out, name...), s...), ' ')
	return append(base64.StdEncoding.AppendEncode(out, token), end...)
}
