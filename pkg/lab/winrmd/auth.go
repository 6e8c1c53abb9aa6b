package winrmd

import (
	"context"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
)

// maxToken bounds an Authorization header's token.
const maxToken = 64 << 10

type connectionKey struct{}

// A connection is what a TCP connection has proved so far. Requests of one
// connection come one after another, so it needs no lock.
type connection struct {
	challenge  [challengeSize]byte
	challenged bool
	owner      string // logged in by NTLM, for as long as the connection lives
	basic      string // the header that was accepted last, and for whom
	basicOwner string
	certified  string // logged in by certificate
}

func withConnection(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, &connection{})
}

// authenticate returns who sends the request, or answers 401.
func (s *Server) authenticate(w http.ResponseWriter, r *http.Request) (owner string, ok bool) {
	if s.Faults().Unauthorized {
		s.unauthorized(w)
		return "", false
	}
	conn, found := r.Context().Value(connectionKey{}).(*connection)
	if !found {
		s.unauthorized(w)
		return "", false
	}
	header := r.Header.Get("Authorization")
	scheme, token, _ := strings.Cut(header, " ")
	switch {
	case header == "" && conn.owner != "":
		return conn.owner, true
	case header == mutualAuthorization:
		owner, ok = s.certificate(r, conn)
	case len(token) > maxToken, !s.takes(scheme):
	case strings.EqualFold(scheme, "Basic"):
		owner, ok = s.basic(r, conn)
	case strings.EqualFold(scheme, "Negotiate"), strings.EqualFold(scheme, "NTLM"):
		var answer string
		owner, answer, ok = s.ntlm(r.Context(), conn, token)
		if answer != "" {
			s.challenge(w, scheme+" "+answer)
			return "", false
		}
	}
	if !ok {
		s.unauthorized(w)
	}
	return owner, ok
}

// takes reports whether a way to log in is open.
func (s *Server) takes(scheme string) bool {
	return s.opts.Offers == nil || slices.ContainsFunc(s.opts.Offers, func(o string) bool { return strings.EqualFold(o, scheme) })
}

// unauthorized asks for a log-in.
func (s *Server) unauthorized(w http.ResponseWriter) {
	var offers []string
	for _, o := range []string{"Negotiate", "NTLM", "Basic"} {
		switch {
		case !s.takes(o), o == "NTLM" && s.opts.Offers == nil:
		case o == "Basic":
			offers = append(offers, `Basic realm="WSMAN"`)
		default:
			offers = append(offers, o)
		}
	}
	s.challenge(w, offers...)
}

func (s *Server) challenge(w http.ResponseWriter, offers ...string) {
	s.knobs.count(func(c *Counts) { c.Unauthorized++ })
	for _, o := range offers {
		w.Header().Add("WWW-Authenticate", o)
	}
	w.WriteHeader(http.StatusUnauthorized)
}

// basic asks the host once a connection and header: a log-in is one event on
// the machine, not one a request.
func (s *Server) basic(r *http.Request, conn *connection) (string, bool) {
	header := r.Header.Get("Authorization")
	if conn.basic != "" && conn.basic == header {
		return conn.basicOwner, true
	}
	name, password, ok := r.BasicAuth()
	if !ok {
		return "", false
	}
	l := Login{User: name, Check: func(p string) bool { return p == password }}
	if domain, user, found := strings.Cut(name, `\`); found {
		l.Domain, l.User = domain, user
	}
	owner, ok := s.logIn(r.Context(), l)
	if ok {
		conn.basic, conn.basicOwner = header, owner
	}
	return owner, ok
}

// ntlm takes one step of an NTLM log-in: answer is the next token for the
// client, "" when there is none.
func (s *Server) ntlm(ctx context.Context, conn *connection, token string) (owner, answer string, ok bool) {
	m, err := base64.StdEncoding.DecodeString(strings.TrimSpace(token))
	if err != nil {
		return "", "", false
	}
	switch ntlmKind(m) {
	case 1:
		return "", s.ntlmChallenge(conn, m), false
	case 3:
		owner, ok = s.ntlmLogIn(ctx, conn, m)
		return owner, "", ok
	default:
		return "", "", false
	}
}

func (s *Server) ntlmChallenge(conn *connection, m []byte) string {
	conn.owner, conn.challenged = "", false
	offered, err := negotiateFlags(m)
	if err != nil {
		return ""
	}
	if _, err := io.ReadFull(&s.random, conn.challenge[:]); err != nil {
		return ""
	}
	conn.challenged = true
	c := challenger{computer: s.opts.Name, domain: s.opts.Domain, dns: s.opts.DNSDomain}
	return base64.StdEncoding.EncodeToString(c.message(offered, conn.challenge, s.opts.Now()))
}

func (s *Server) ntlmLogIn(ctx context.Context, conn *connection, m []byte) (string, bool) {
	if !conn.challenged {
		return "", false
	}
	conn.challenged = false // a challenge is good for one answer
	a, err := parseAuthenticate(m)
	if err != nil {
		return "", false
	}
	challenge := conn.challenge
	owner, ok := s.logIn(ctx, Login{
		User: a.user, Domain: a.domain,
		Check: func(password string) bool { return a.proves(challenge, password) },
	})
	if ok {
		conn.owner = owner
	}
	return owner, ok
}

// logIn asks the host and counts.
func (s *Server) logIn(ctx context.Context, l Login) (string, bool) {
	owner, ok := s.host.Authenticate(ctx, l)
	s.countLogIn(ok)
	return owner, ok
}

//nolint:revive // ok is what is counted
func (s *Server) countLogIn(ok bool) {
	s.knobs.count(func(c *Counts) {
		if ok {
			c.LogIns++
		} else {
			c.LogInsRefused++
		}
	})
}
