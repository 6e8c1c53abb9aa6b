// Package winrmd is a WinRM server for practice machines: HTTPS on loopback,
// log-in by Basic, by Negotiate/NTLM and by certificate, and the WinRS part of WS-Management
// (Create, Command, Send, Receive, Signal, Delete) with the answers and faults
// that real Windows gives. Faults of the network and of the service can be
// switched on while it runs.
//
// It knows no Windows: who may log in and what a command line does is its
// [Host]'s business. It is part of the lab and never of the product.
package winrmd

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// MaxEnvelope is the size in bytes beyond which a request is answered 413
// unread, as Windows Server 2012 and later do by default.
const MaxEnvelope = 500 << 10

// Limits of a server, as Windows has them by default.
const (
	DefaultIdleTimeout = 2 * time.Hour
	maxShells          = 30 // per user
	maxCommands        = 25 // per shell
	maxCommandLine     = 8191
)

// Options say what a server is.
type Options struct {
	Host Host // required
	// Name is the machine's name: it stands in faults, challenges and the
	// self-signed certificate. Domain is its NetBIOS domain, or "".
	Name      string
	Domain    string
	DNSDomain string // "" is the domain in small letters and ".test"
	// Offers are the ways to log in that are offered and taken: Negotiate, NTLM,
	// Basic. Nil offers Negotiate and Basic, and takes NTLM as Negotiate, as
	// machines with Basic switched on do.
	Offers []string
	// Address to listen on; "" is a free port of 127.0.0.1.
	Address string
	// Certificate to show; nil makes a self-signed one.
	Certificate *tls.Certificate
	// IdleTimeout is how long a shell lives without a request; 0 is
	// [DefaultIdleTimeout].
	IdleTimeout time.Duration
	// Hurry makes idle times pass so many times faster, for tests; 0 is 1.
	Hurry int
	// HonourSkipShell makes WINRS_SKIP_CMD_SHELL=TRUE work as on Windows Server
	// 2008 R2, where the command must then be a full path. Later versions ignore it.
	HonourSkipShell bool
	Now             func() time.Time // required
	Random          io.Reader        // nil is crypto/rand
	Logger          *slog.Logger     // nil discards
}

// A Server is one machine's WinRM service. Its methods may be called from any
// goroutine.
type Server struct {
	host   Host
	opts   Options
	log    *slog.Logger
	cert   tls.Certificate
	knobs  knobs
	random lockedReader

	address   string       // does not change after Start
	listening sync.Mutex   // serialises Close and SetDown
	web       *http.Server // nil while down
	served    chan struct{}

	mu      sync.Mutex
	shells  map[string]*shell
	closed  bool
	running sync.WaitGroup // commands and requests
}

// Start listens and serves until Close.
func Start(o Options) (*Server, error) {
	if o.Host == nil || o.Now == nil {
		return nil, errors.New("winrmd: a host and a clock are required")
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Address == "" {
		o.Address = "127.0.0.1:0"
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = DefaultIdleTimeout
	}
	s := &Server{
		host: o.Host, opts: o, log: o.Logger.With("machine", o.Name), address: o.Address,
		random: lockedReader{r: o.Random}, shells: map[string]*shell{},
	}
	if err := s.setCertificate(); err != nil {
		return nil, err
	}
	if err := s.listen(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) setCertificate() error {
	if s.opts.Certificate != nil {
		s.cert = *s.opts.Certificate
		return nil
	}
	cert, err := SelfSigned(s.opts.Name, s.opts.Now(), s.opts.Random)
	if err != nil {
		return fmt.Errorf("certificate of %s: %w", s.opts.Name, err)
	}
	s.cert = cert
	return nil
}

// listen starts to serve. The address stays the same after the first time.
func (s *Server) listen() error {
	l, err := net.Listen("tcp", s.address) //nolint:noctx // binding a loopback port does not wait
	if err != nil {
		return fmt.Errorf("listen as %s: %w", s.opts.Name, err)
	}
	if s.web == nil && s.served == nil { // the first time; readers take no lock
		s.address = l.Addr().String()
	}
	web := &http.Server{
		Handler:     http.HandlerFunc(s.serve),
		ConnContext: withConnection,
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.knobs.count(func(c *Counts) { c.Connections++ })
			}
		},
		ReadHeaderTimeout: 30 * time.Second,
		MaxHeaderBytes:    128 << 10,
		// Negotiate authenticates a connection: HTTP/2 has no place for that.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ErrorLog:     slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	config := &tls.Config{Certificates: []tls.Certificate{s.cert}, MinVersion: tls.VersionTLS12, ClientAuth: s.clientAuth()}
	served := make(chan struct{})
	s.web, s.served = web, served
	go func() {
		defer close(served)
		if err := web.Serve(tls.NewListener(l, config)); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("serving ended", "error", err)
		}
	}()
	return nil
}

// hangUp closes the listener and every connection.
func (s *Server) hangUp() error {
	if s.web == nil {
		return nil
	}
	err := s.web.Close()
	<-s.served
	s.web = nil
	return err
}

// SetDown takes the machine off the network (connections are cut, new ones
// refused) or brings it back at the same address. Commands go on running.
func (s *Server) SetDown(down bool) error { //nolint:revive // the two states of one switch
	s.listening.Lock()
	defer s.listening.Unlock()
	if down {
		return s.hangUp()
	}
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if s.web != nil || closed {
		return nil
	}
	return s.listen()
}

// Sever cuts every connection; new ones are taken. Commands go on running.
func (s *Server) Sever() error {
	s.listening.Lock()
	defer s.listening.Unlock()
	if s.web == nil {
		return nil
	}
	if err := s.hangUp(); err != nil {
		return err
	}
	return s.listen()
}

// Down reports whether the machine is off the network.
func (s *Server) Down() bool {
	s.listening.Lock()
	defer s.listening.Unlock()
	return s.web == nil
}

// Close ends everything and waits for it: connections, commands, shells.
func (s *Server) Close() error {
	s.listening.Lock()
	defer s.listening.Unlock()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	err := s.hangUp()
	s.KillCommands()
	s.running.Wait()
	return err
}

// KillCommands ends every command and shell at once, as if the process that
// holds them on the machine had died. It does not wait for the commands, so
// that a command may call it.
func (s *Server) KillCommands() {
	s.mu.Lock()
	shells := s.shells
	s.shells = map[string]*shell{}
	s.mu.Unlock()
	for _, sh := range shells {
		sh.end()
	}
}

// Address is the host:port the server listens on.
func (s *Server) Address() string { return s.address }

// URL is the address of the WS-Management service.
func (s *Server) URL() string { return "https://" + s.Address() + "/wsman" }

// Pin is "sha256:HEX" of the certificate's DER.
func (s *Server) Pin() string {
	sum := sha256.Sum256(s.cert.Certificate[0])
	return "sha256:" + hex.EncodeToString(sum[:])
}

// CertificatePEM is the certificate as PEM, for a client that trusts it as an
// authority.
func (s *Server) CertificatePEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Certificate[0]})
}

// Certificate is the certificate, parsed.
func (s *Server) Certificate() (*x509.Certificate, error) {
	return x509.ParseCertificate(s.cert.Certificate[0])
}
