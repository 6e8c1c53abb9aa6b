package sshd

import (
	"context"
	"crypto/subtle"
	"errors"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// extOwner is where a connection's permissions keep who it is.
const extOwner = "owner"

var errRefused = errors.New("refused")

// config is the server's side of one log-in.
func (s *Server) config(ctx context.Context) *ssh.ServerConfig {
	c := &ssh.ServerConfig{
		ServerVersion: "SSH-2.0-OpenSSH_for_Windows_9.5",
		MaxAuthTries:  6,
		PasswordCallback: func(m ssh.ConnMetadata, sent []byte) (*ssh.Permissions, error) {
			l := loginOf(m.User())
			l.Check = func(p string) bool { return subtle.ConstantTimeCompare([]byte(p), sent) == 1 }
			return s.logIn(ctx, l)
		},
		PublicKeyCallback: func(m ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			return s.byKey(ctx, m, key)
		},
		AuthLogCallback: func(_ ssh.ConnMetadata, method string, err error) {
			var more *ssh.PartialSuccessError
			if method == "none" || errors.As(err, &more) {
				return
			}
			s.knobs.count(func(c *Counts) {
				if err == nil {
					c.LogIns++
				} else {
					c.LogInsRefused++
				}
			})
		},
	}
	c.AddHostKey(s.signer)
	return c
}

func loginOf(name string) Login {
	if domain, user, found := strings.Cut(name, `\`); found {
		return Login{User: user, Domain: domain}
	}
	return Login{User: name}
}

func (s *Server) logIn(ctx context.Context, l Login) (*ssh.Permissions, error) {
	if s.Faults().Unauthorized || !s.wait(ctx) {
		return nil, errRefused
	}
	owner, ok := s.host.Authenticate(ctx, l)
	if !ok {
		return nil, errRefused
	}
	return &ssh.Permissions{Extensions: map[string]string{extOwner: owner}}, nil
}

// byKey judges a key, or a certificate by the key that signed it. A
// certificate's own limits (its time, its principals, its critical options) are
// the library's to check.
func (s *Server) byKey(ctx context.Context, m ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	l := loginOf(m.User())
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		l.Key = line(key)
		return s.logIn(ctx, l)
	}
	checker := ssh.CertChecker{}
	if cert.CertType != ssh.UserCert || checker.CheckCert(m.User(), cert) != nil {
		return nil, errRefused
	}
	l.Key, l.Authority = line(cert.SignatureKey), true
	return s.logIn(ctx, l)
}

// wait adds the latency that the faults ask for; false says that ctx ended.
func (s *Server) wait(ctx context.Context) bool {
	d := s.Faults().Latency
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// serve is one connection from its beginning to its end.
func (s *Server) serve(raw net.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.knobs.count(func(c *Counts) { c.Connections++ })
	grace := time.AfterFunc(graceTime, func() { _ = raw.Close() })
	conn, channels, requests, err := ssh.NewServerConn(raw, s.config(ctx))
	if !grace.Stop() || err != nil {
		return
	}
	s.running.Go(func() { ssh.DiscardRequests(requests) })
	owner := conn.Permissions.Extensions[extOwner]
	for c := range channels {
		if c.ChannelType() != "session" {
			s.knobs.count(func(c *Counts) { c.Others++ })
			_ = c.Reject(ssh.Prohibited, "administratively prohibited")
			continue
		}
		ch, reqs, err := c.Accept()
		if err != nil {
			return
		}
		s.running.Go(func() { s.session(ctx, owner, ch, reqs, raw) })
	}
}
