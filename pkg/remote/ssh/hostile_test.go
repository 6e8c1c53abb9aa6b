package ssh_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/remote/ssh"
	"keyturn/pkg/secret"
)

// fake serves one kind of misbehaviour to every connection.
func fake(t *testing.T, serve func(c net.Conn, config *gossh.ServerConfig)) remote.Target {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := gossh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			config := &gossh.ServerConfig{}
			config.AddHostKey(signer)
			serve(c, config)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	addr := l.Addr().(*net.TCPAddr)
	return remote.Target{
		Endpoint: remote.Endpoint{
			Transport: pam.SSH, Host: "127.0.0.1", Port: addr.Port,
			HostKeys: []string{string(gossh.MarshalAuthorizedKey(signer.PublicKey()))},
		},
		User: "svc", Password: secret.Copy([]byte(userPassword)),
	}
}

func TestLogInsThatProveNothing(t *testing.T) {
	t.Parallel()
	interactive := func(questions []string, echos []bool, rounds int) func(net.Conn, *gossh.ServerConfig) {
		return func(c net.Conn, config *gossh.ServerConfig) {
			config.KeyboardInteractiveCallback = func(_ gossh.ConnMetadata, ask gossh.KeyboardInteractiveChallenge) (*gossh.Permissions, error) {
				for range rounds {
					if _, err := ask("", "", questions, echos); err != nil {
						return nil, err
					}
				}
				return nil, nil
			}
			_, _, _, _ = gossh.NewServerConn(c, config)
		}
	}
	for name, row := range map[string]struct {
		serve func(net.Conn, *gossh.ServerConfig)
		kind  pam.Kind
		says  string
	}{
		"a server that lets anybody in": {func(c net.Conn, config *gossh.ServerConfig) {
			config.NoClientAuth = true
			_, _, _, _ = gossh.NewServerConn(c, config)
		}, pam.ErrAuthFailed, "anybody"},
		"a server that hangs up on the password": {func(c net.Conn, config *gossh.ServerConfig) {
			config.PasswordCallback = func(gossh.ConnMetadata, []byte) (*gossh.Permissions, error) {
				_ = c.Close()
				return nil, errors.New("gone")
			}
			_, _, _, _ = gossh.NewServerConn(c, config)
		}, pam.ErrAuthFailed, "broke off"},
		"a second question":        {interactive([]string{"Password: "}, []bool{false}, 2), pam.ErrAuthFailed, "more than a password"},
		"two questions at once":    {interactive([]string{"Password: ", "Code: "}, []bool{false, false}, 1), pam.ErrAuthFailed, "more than a password"},
		"a question that shows":    {interactive([]string{"Name: "}, []bool{true}, 1), pam.ErrAuthFailed, "more than a password"},
		"endless empty questions":  {interactive(nil, nil, 1_000_000_000), pam.ErrAuthFailed, ""},
		"a server of another kind": {func(c net.Conn, _ *gossh.ServerConfig) { _, _ = c.Write([]byte(strings.Repeat("\x1b[2J", 500))) }, pam.ErrUnreachable, ""},
		"a server that says nothing": {func(c net.Conn, _ *gossh.ServerConfig) {
			_, _ = c.Read(make([]byte, 100))
			_, _ = c.Read(make([]byte, 1))
		}, pam.ErrUnreachable, "in time"},
		"a server that goes on trial": {func(c net.Conn, _ *gossh.ServerConfig) { _, _ = c.Write([]byte("SSH-2.0-x\r\n\xff\xff\xff\xff")) }, pam.ErrUnreachable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := fake(t, row.serve)
			_, err := ssh.NewDialer(ssh.Options{Timeout: time.Second}).Dial(t.Context(), to)
			if !errors.Is(err, row.kind) || !strings.Contains(err.Error(), row.says) {
				t.Errorf("error %v, want %q saying %q", err, row.kind, row.says)
			}
			if row.kind == pam.ErrAuthFailed && !errors.Is(err, remote.ErrInconclusive) {
				t.Errorf("error %v passes for a verdict", err)
			}
			if strings.ContainsAny(err.Error(), "\x1b\n") || strings.Contains(err.Error(), userPassword) {
				t.Errorf("error %q shows what the server sent", err)
			}
		})
	}
}

// shell accepts the log-in and hands every exec request to serve.
func shell(serve func(ch gossh.Channel, req *gossh.Request)) func(net.Conn, *gossh.ServerConfig) {
	return func(c net.Conn, config *gossh.ServerConfig) {
		config.PasswordCallback = func(_ gossh.ConnMetadata, pw []byte) (*gossh.Permissions, error) {
			if string(pw) != userPassword {
				return nil, errors.New("wrong")
			}
			return nil, nil
		}
		_, channels, requests, err := gossh.NewServerConn(c, config)
		if err != nil {
			return
		}
		go gossh.DiscardRequests(requests)
		for nc := range channels {
			ch, reqs, err := nc.Accept()
			if err != nil {
				return
			}
			for req := range reqs {
				if req.Type == "exec" {
					serve(ch, req)
				}
			}
		}
	}
}

func TestCommandsThatDoNotEndAsTheyShould(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		serve func(ch gossh.Channel, req *gossh.Request)
		input int
		sent  bool
	}{
		"the server refuses to run anything": {func(_ gossh.Channel, req *gossh.Request) {
			_ = req.Reply(false, nil)
		}, 0, false},
		"there is no exit code": {func(ch gossh.Channel, req *gossh.Request) {
			_ = req.Reply(true, nil)
			_, _ = ch.Read(make([]byte, 100))
			_ = ch.Close()
		}, 10, true},
		"the exit code is cut": {func(ch gossh.Channel, req *gossh.Request) {
			_ = req.Reply(true, nil)
			_, _ = ch.SendRequest("exit-status", false, []byte{0, 0})
			_ = ch.Close()
		}, 0, true},
		"the exit code is too long": {func(ch gossh.Channel, req *gossh.Request) {
			_ = req.Reply(true, nil)
			_, _ = ch.SendRequest("exit-status", false, []byte{0, 0, 0, 0, 0})
			_ = ch.Close()
		}, 0, true},
		"the exit code comes before the command was started": {func(ch gossh.Channel, req *gossh.Request) {
			_, _ = ch.SendRequest("exit-status", false, []byte{0, 0, 0, 0})
			_ = req.Reply(false, nil)
			_ = ch.Close()
		}, 10, false},
		"the exit is a signal that is none": {func(ch gossh.Channel, req *gossh.Request) {
			_ = req.Reply(true, nil)
			_, _ = ch.SendRequest("exit-signal", false, []byte{0, 0, 1})
			_ = ch.Close()
		}, 0, true},
		"the output is not of the command": {func(ch gossh.Channel, req *gossh.Request) {
			_ = req.Reply(true, nil)
			_, _ = ch.Write(bytes.Repeat([]byte("x"), remote.MaxOutput+1))
			_, _ = ch.SendRequest("exit-status", false, []byte{0, 0, 0, 0})
			_ = ch.Close()
		}, 0, true},
		"standard error is not, either": {func(ch gossh.Channel, req *gossh.Request) {
			_ = req.Reply(true, nil)
			_, _ = ch.Stderr().Write(bytes.Repeat([]byte("x"), remote.MaxOutput+1))
			_, _ = ch.SendRequest("exit-status", false, []byte{0, 0, 0, 0})
			_ = ch.Close()
		}, 0, true},
		"the server asks for the exit code": {func(ch gossh.Channel, req *gossh.Request) {
			_ = req.Reply(true, nil)
			for _, word := range []string{"exit-code", "xon-xoff", "pty-req", "exec", "shell", "signal"} {
				if ok, _ := ch.SendRequest(word, true, []byte("anything")); ok {
					return
				}
			}
			_ = ch.Close()
		}, 0, true},
		"it ended before it could see all of the input": {func(ch gossh.Channel, req *gossh.Request) {
			_ = req.Reply(true, nil)
			_ = ch.Close()
		}, 8 << 20, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := ssh.NewDialer(ssh.Options{}).Dial(t.Context(), fake(t, shell(row.serve)))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			_, err = s.Run(t.Context(), remote.Script{Line: "anything"}, secret.New(make([]byte, row.input)))
			if e := asError(t, err); !errors.Is(err, pam.ErrIO) || e.Sent != row.sent {
				t.Errorf("error %v, sent %v, want sent %v", err, e.Sent, row.sent)
			}
		})
	}
}

// TestCommandsThatNeverEnd are left at the caller's deadline, and no later.
func TestCommandsThatNeverEnd(t *testing.T) {
	t.Parallel()
	hang := func(ch gossh.Channel) { _, _ = io.Copy(io.Discard, ch) }
	for name, serve := range map[string]func(ch gossh.Channel, req *gossh.Request){
		"no answer to the start": func(ch gossh.Channel, _ *gossh.Request) { hang(ch) },
		"output that ends, and no exit": func(ch gossh.Channel, req *gossh.Request) {
			_ = req.Reply(true, nil)
			_ = ch.CloseWrite()
			hang(ch)
		},
		"an exit code, and no end": func(ch gossh.Channel, req *gossh.Request) {
			_ = req.Reply(true, nil)
			_, _ = ch.SendRequest("exit-status", false, []byte{0, 0, 0, 0})
			hang(ch)
		},
		"input that nobody reads": func(ch gossh.Channel, req *gossh.Request) {
			_ = req.Reply(true, nil)
			for {
				if _, err := ch.Write([]byte(".")); err != nil {
					return
				}
				if ok, err := ch.SendRequest("keepalive@openssh.com", true, nil); ok || err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := ssh.NewDialer(ssh.Options{}).Dial(t.Context(), fake(t, shell(serve)))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			ended := make(chan error, 1)
			go func() {
				_, err := s.Run(ctx, remote.Script{Line: "anything"}, secret.New(make([]byte, 4<<20)))
				_ = s.Close()
				ended <- err
			}()
			select {
			case err := <-ended:
				if !errors.Is(err, pam.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error %v, want the deadline", err)
				}
			case <-time.After(30 * time.Second):
				t.Fatal("the server keeps us for ever")
			}
		})
	}
}

// TestTheServerGetsNothingOfOurs: a server that opens channels to us, as for
// forwarding, an agent or X11, or asks for anything, is refused.
func TestTheServerGetsNothingOfOurs(t *testing.T) {
	t.Parallel()
	granted := make(chan string, 100)
	to := fake(t, func(c net.Conn, config *gossh.ServerConfig) {
		config.PasswordCallback = func(gossh.ConnMetadata, []byte) (*gossh.Permissions, error) { return nil, nil }
		conn, channels, requests, err := gossh.NewServerConn(c, config)
		if err != nil {
			return
		}
		go gossh.DiscardRequests(requests)
		for nc := range channels {
			ch, reqs, err := nc.Accept()
			if err != nil {
				return
			}
			for _, kind := range []string{"session", "forwarded-tcpip", "direct-tcpip", "x11", "auth-agent@openssh.com", "forwarded-streamlocal@openssh.com"} {
				if _, _, err := conn.OpenChannel(kind, []byte("anything")); err == nil {
					granted <- kind
				}
			}
			for _, kind := range []string{"hostkeys-00@openssh.com", "tcpip-forward", "no-more-sessions@openssh.com", "\x1b[2J"} {
				if ok, _, _ := conn.SendRequest(kind, true, []byte("anything")); ok {
					granted <- kind
				}
			}
			for req := range reqs {
				_ = req.Reply(true, nil)
				_, _ = ch.SendRequest("exit-status", false, []byte{0, 0, 0, 0})
				_ = ch.Close()
			}
		}
	})
	s, err := ssh.NewDialer(ssh.Options{}).Dial(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Run(t.Context(), remote.Script{Line: "anything"}, secret.Value{}); err != nil {
		t.Error(err)
	}
	_ = s.Close()
	select {
	case kind := <-granted:
		t.Errorf("%q was granted", kind)
	default:
	}
}
