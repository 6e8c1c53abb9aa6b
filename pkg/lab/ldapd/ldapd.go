// Package ldapd is the LDAP side of the practice domain: it answers for a domain
// of pkg/lab/model as a controller of Active Directory does, as far as somebody
// who looks an account up, resets its password and tries it can tell. The
// answers and their codes are those of MS-ADTS; a real one (Samba) is asked the
// same questions in the tests of pkg/directory.
//
// It knows no machine, no service and nothing of the product.
package ldapd

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"

	"keyturn/pkg/lab/model"
)

// Options say what to serve. Domain, Certificate and Now are required.
type Options struct {
	Domain      *model.Domain
	Certificate tls.Certificate
	Now         func() time.Time
	Controller  string                // its DNS name; "" is dc01 of the domain
	MayReset    func(sid string) bool // who may reset passwords; nil is everybody
}

// Faults are what goes wrong from now on. The zero value is nothing.
type Faults struct {
	NoTLS       bool          // StartTLS is refused, as by a controller without a certificate
	CutBefore   bool          // the connection is cut in place of the next reset
	CutAfter    bool          // the connection is cut after the next reset, in place of its answer
	PDC         string        // another controller is the PDC emulator, but for who calls this one by that name
	PDCDomain   *model.Domain // which is of another domain
	NoThreshold bool          // a policy that may not be read is in force for every account
	Endless     bool          // answers to a search never end
}

// A Server is a listening controller: LDAPS at one port, plain LDAP with StartTLS
// at another. It is safe for concurrent use.
type Server struct {
	options Options
	secure  net.Listener
	plain   net.Listener
	cancel  context.CancelFunc
	serving sync.WaitGroup

	mu     sync.Mutex
	faults Faults
	down   bool
	binds  int
	conns  map[net.Conn]bool
}

// Start listens on loopback until Close, or until ctx ends.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Controller == "" {
		o.Controller = "dc01." + o.Domain.DNS()
	}
	s := &Server{options: o, conns: map[net.Conn]bool{}}
	var lc net.ListenConfig
	var err error
	if s.secure, err = lc.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("listen for LDAPS: %w", err)
	}
	if s.plain, err = lc.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for LDAP: %w", err), s.secure.Close())
	}
	ctx, s.cancel = context.WithCancel(ctx)
	context.AfterFunc(ctx, s.shut)
	s.serving.Go(func() { s.accept(ctx, s.secure, true) })
	s.serving.Go(func() { s.accept(ctx, s.plain, false) })
	return s, nil
}

// Address is where LDAPS is served.
func (s *Server) Address() string { return s.secure.Addr().String() }

// PlainAddress is where LDAP is served that begins in the clear.
func (s *Server) PlainAddress() string { return s.plain.Addr().String() }

// Pin is the certificate, in the form that a record keeps.
func (s *Server) Pin() string {
	sum := sha256.Sum256(s.options.Certificate.Certificate[0])
	return "sha256:" + hex.EncodeToString(sum[:])
}

// PEM is the certificate, which is its own authority, as a CA file holds it.
func (s *Server) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.options.Certificate.Certificate[0]})
}

// domain is the one that a client sees.
func (c *client) domain() *model.Domain {
	if f := c.server.wrong(); f.PDCDomain != nil && c.name == f.PDC {
		return f.PDCDomain
	}
	return c.server.options.Domain
}

// SetFaults says what goes wrong from now on.
func (s *Server) SetFaults(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

// SetDown takes the controller off the network, or brings it back.
func (s *Server) SetDown(down bool) { //nolint:revive // the two states of one switch
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
	for c := range s.conns {
		if down {
			_ = c.Close()
		}
	}
}

// Binds counts the log-ins so far, refused ones too.
func (s *Server) Binds() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.binds
}

// Close ends the server and waits for it.
func (s *Server) Close() error {
	s.cancel()
	s.serving.Wait()
	return nil
}

func (s *Server) shut() {
	_ = s.secure.Close()
	_ = s.plain.Close()
	s.SetDown(true)
}

// once reports and ends one of the faults that happen once.
func (s *Server) once(which func(*Faults) *bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	flag := which(&s.faults)
	was := *flag
	*flag = false
	return was
}

func (s *Server) wrong() Faults {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults
}

//nolint:revive // whether TLS comes first is a fact of the port
func (s *Server) accept(ctx context.Context, l net.Listener, secure bool) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		if !s.admit(conn) {
			_ = conn.Close()
			continue
		}
		s.serving.Go(func() {
			c := &client{server: s, conn: conn}
			defer c.end(conn)
			if secure && c.startTLS(ctx) != nil {
				return
			}
			c.serve(ctx)
		})
	}
}

func (s *Server) admit(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return false
	}
	s.conns[conn] = true
	return true
}

// A client is one connection.
type client struct {
	server *Server
	conn   net.Conn
	name   string // by which it called us, once TLS said
	tls    bool
	sid    string // as whom it is logged in, "" for nobody
}

func (c *client) end(conn net.Conn) {
	_ = conn.Close()
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	delete(c.server.conns, conn)
}

func (c *client) startTLS(ctx context.Context) error {
	t := tls.Server(c.conn, &tls.Config{Certificates: []tls.Certificate{c.server.options.Certificate}, MinVersion: tls.VersionTLS12})
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	c.conn, c.name, c.tls = t, t.ConnectionState().ServerName, true
	return nil
}

// errCut ends a connection without an answer.
var errCut = errors.New("the connection is cut")

// serve answers requests one after another until the connection ends.
func (c *client) serve(ctx context.Context) {
	for {
		p, err := ber.ReadPacket(c.conn)
		if err != nil || len(p.Children) < 2 {
			return
		}
		id, ok := p.Children[0].Value.(int64)
		if !ok || c.request(ctx, id, p.Children[1]) != nil {
			return
		}
	}
}

// LDAP's numbers (RFC 4511).
const (
	tagBind, tagUnbind, tagSearch, tagModify, tagExtended = 0, 2, 3, 6, 23
	tagEntry                                              = 4

	startTLSOID = "1.3.6.1.4.1.1466.20037"
)

// answerTag is the tag of the answer to a request.
var answerTag = map[ber.Tag]ber.Tag{tagBind: 1, tagSearch: 5, tagModify: 7, tagExtended: 24}

func (c *client) request(ctx context.Context, id int64, q *ber.Packet) error {
	switch q.Tag { //nolint:exhaustive // the tags of a request are its own
	case tagBind:
		return c.answer(id, q.Tag, c.bind(q))
	case tagSearch:
		r := c.search(id, q)
		if errors.Is(r.err, errCut) {
			return r.err
		}
		return c.answer(id, q.Tag, r)
	case tagModify:
		r := c.modify(q)
		if errors.Is(r.err, errCut) {
			return r.err
		}
		return c.answer(id, q.Tag, r)
	case tagExtended:
		return c.extended(ctx, id, q)
	}
	return io.EOF // unbind, and what nobody here sends
}

func (c *client) extended(ctx context.Context, id int64, q *ber.Packet) error {
	if text(q, 0) != startTLSOID || c.tls {
		return c.answer(id, q.Tag, result{code: protocolError, text: "0000203D: LdapErr: DSID-0C090E17, comment: Unknown extended request"})
	}
	if c.server.wrong().NoTLS {
		return c.answer(id, q.Tag, result{code: unavailable, text: "00000000: LdapErr: DSID-0C0911A4, comment: Error initializing SSL/TLS"})
	}
	if err := c.answer(id, q.Tag, result{}); err != nil {
		return err
	}
	return c.startTLS(ctx)
}

// A result is the end of an answer: LDAP's code, and the controller's words.
type result struct {
	code int64
	text string
	err  error // the connection ends instead
}

func (c *client) answer(id int64, to ber.Tag, r result) error {
	p := ber.Encode(ber.ClassApplication, ber.TypeConstructed, answerTag[to], nil, "")
	p.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, r.code, ""))
	p.AppendChild(octets(""))
	p.AppendChild(octets(r.text))
	return c.write(id, p)
}

func (c *client) write(id int64, p *ber.Packet) error {
	m := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
	m.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
	m.AppendChild(p)
	_, err := c.conn.Write(m.Bytes())
	return err
}

func octets(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

// text is the n-th child's content as a string, "" when there is none.
func text(p *ber.Packet, n int) string {
	if n >= len(p.Children) {
		return ""
	}
	return p.Children[n].Data.String()
}
