// Package sshd is an SSH server for practice machines, as OpenSSH for Windows
// is one: log-in by password, key or user certificate, one command on each
// channel, handed to a default shell (cmd, PowerShell or bash) and never to a
// terminal. Faults of the network and of the service can be switched on while
// it runs.
//
// It knows no Windows: who may log in and what a command line does is its
// [Host]'s business. It is part of the lab and never of the product.
package sshd

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// graceTime is how long a connection may take to log in; sshd's default.
const graceTime = 2 * time.Minute

// Options say what a server is.
type Options struct {
	Host Host // required
	// Name is the machine's name, for the log.
	Name string
	// Shell is the default shell of the machine; "" is [CMD].
	Shell Shell
	// Profile is what the shell writes on standard output before it runs anything:
	// the AutoRun of cmd, a profile of PowerShell, a .bashrc.
	Profile string
	// Address to listen on; "" is a free port of 127.0.0.1.
	Address string
	Logger  *slog.Logger // nil discards
}

// A Server is one machine's SSH service. Its methods may be called from any
// goroutine.
type Server struct {
	host   Host
	opts   Options
	log    *slog.Logger
	signer ssh.Signer
	knobs  knobs

	address   string       // does not change after Start
	listening sync.Mutex   // serialises Close and SetDown
	listener  net.Listener // nil while down

	mu       sync.Mutex
	closed   bool
	down     bool
	conns    map[net.Conn]bool
	commands map[*command]bool
	running  sync.WaitGroup // connections and commands
}

// Start listens and serves until Close.
func Start(o Options) (*Server, error) {
	if o.Host == nil {
		return nil, errors.New("sshd: a host is required")
	}
	if o.Shell == "" {
		o.Shell = CMD
	}
	if err := o.Shell.check(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Address == "" {
		o.Address = "127.0.0.1:0"
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("host key of %s: %w", o.Name, err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, fmt.Errorf("host key of %s: %w", o.Name, err)
	}
	s := &Server{
		host: o.Host, opts: o, log: o.Logger.With("machine", o.Name), signer: signer, address: o.Address,
		conns: map[net.Conn]bool{}, commands: map[*command]bool{},
	}
	if err := s.listen(); err != nil {
		return nil, err
	}
	return s, nil
}

// listen starts to serve. The address stays the same after the first time.
func (s *Server) listen() error {
	l, err := net.Listen("tcp", s.address) //nolint:noctx // binding a loopback port does not wait
	if err != nil {
		return fmt.Errorf("listen as %s: %w", s.opts.Name, err)
	}
	s.address = l.Addr().String() // the same, after the first time
	s.listener = l
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = false
	s.running.Go(func() { s.accept(l) })
	return nil
}

func (s *Server) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if !s.admit(c) {
			_ = c.Close()
			continue
		}
		s.running.Go(func() {
			defer s.dismiss(c)
			s.serve(c)
		})
	}
}

// admit counts a connection, unless the machine is off the network.
func (s *Server) admit(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.down {
		return false
	}
	s.conns[c] = true
	return true
}

func (s *Server) dismiss(c net.Conn) {
	_ = c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// hangUp closes the listener and every connection.
func (s *Server) hangUp() error {
	if s.listener == nil {
		return nil
	}
	err := s.listener.Close()
	s.listener = nil
	s.mu.Lock()
	s.down = true
	s.mu.Unlock()
	s.Sever()
	return err
}

// Sever cuts every connection; new ones are taken. Commands go on running.
func (s *Server) Sever() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
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
	if s.listener != nil || closed {
		return nil
	}
	return s.listen()
}

// Close ends everything and waits for it: connections and commands.
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

// KillCommands ends every command at once, as if somebody had ended their
// processes. It does not wait for them, so that a command may call it.
func (s *Server) KillCommands() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.commands {
		c.kill()
	}
}

// Address is the host:port the server listens on.
func (s *Server) Address() string { return s.address }

// HostKey is the key that the server proves itself with: "ssh-ed25519 AAAA...".
func (s *Server) HostKey() string { return line(s.signer.PublicKey()) }

// Shell is the machine's default shell.
func (s *Server) Shell() Shell { return s.opts.Shell }

// line is a key as a line of authorized_keys.
func line(k ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k))) }
