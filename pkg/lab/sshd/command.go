package sshd

import (
	"context"
	"io"
	"net"
	"sync/atomic"

	"golang.org/x/crypto/ssh"
)

// exitKilled is what TerminateProcess leaves.
const exitKilled = 1

// A command is one that runs.
type command struct {
	cancel context.CancelFunc
	deaf   atomic.Bool // killed: what it writes fails
}

// kill ends the command.
func (c *command) kill() {
	c.deaf.Store(true)
	c.cancel()
}

// session serves one channel: requests to run one command, and to end it.
func (s *Server) session(ctx context.Context, owner string, ch ssh.Channel, requests <-chan *ssh.Request, raw net.Conn) {
	var cmd *command
	for r := range requests {
		ok, start := false, func() {}
		switch r.Type {
		case "exec":
			var m struct{ Line string }
			if cmd == nil && ssh.Unmarshal(r.Payload, &m) == nil {
				cmd, start = s.exec(ctx, Command{Owner: owner, Line: m.Line}, ch, raw)
				ok = cmd != nil
			}
		case "signal":
			if ok = cmd != nil; ok {
				cmd.kill()
			}
		case "pty-req":
			s.knobs.count(func(c *Counts) { c.Terminals++ })
		default:
			s.knobs.count(func(c *Counts) { c.Others++ })
		}
		if r.WantReply {
			_ = r.Reply(ok, nil)
		}
		start() // after the reply: a command that ends at once must not overtake it
	}
	if cmd == nil {
		_ = ch.Close()
	}
}

// exec admits a command, or returns nil; start starts it. It lives on when the
// connection is cut: OpenSSH for Windows gives it the last handle of the job
// that would end it.
func (s *Server) exec(ctx context.Context, c Command, ch ssh.Channel, raw net.Conn) (cmd *command, start func()) {
	nothing := func() {}
	acc := s.knobs.next()
	if acc.refuse || !s.wait(ctx) {
		return nil, nothing
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	cmd = &command{cancel: cancel}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		cancel()
		return nil, nothing
	}
	s.commands[cmd] = true
	s.running.Add(1)
	return cmd, func() {
		go func() {
			defer s.running.Done()
			exit := s.run(ctx, cmd, c, ch, raw, acc)
			s.forget(cmd)
			status := ssh.Marshal(struct{ Code uint32 }{uint32(exit)}) //nolint:gosec // 32 bits, as Windows has
			_, _ = ch.SendRequest("exit-status", false, status)
			_ = ch.Close()
		}()
		if acc.dropStart {
			_ = raw.Close()
		}
	}
}

func (s *Server) forget(cmd *command) {
	cmd.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.commands, cmd)
}

// run is the shell and the command in it.
func (s *Server) run(ctx context.Context, cmd *command, c Command, ch ssh.Channel, raw net.Conn, acc accident) int {
	in := s.input(ctx, ch, acc)
	out := writer{to: ch, cmd: cmd}
	errs := writer{to: ch.Stderr(), cmd: cmd}
	if acc.dropOutput {
		out.cut, errs.cut = raw, raw
	}
	if s.opts.Profile != "" {
		_, _ = io.WriteString(out, s.opts.Profile)
	}
	if no := s.opts.Shell.read(c.Line); no != nil {
		_, _ = io.WriteString(errs, no.text)
		return no.exit
	}
	code := s.host.Run(ctx, c, in, out, errs)
	if cmd.deaf.Load() {
		return exitKilled
	}
	return s.opts.Shell.exit(code)
}

// lostInput is how much the fault LoseInput swallows.
const lostInput = 4096

// input is the command's standard input. It ends when the channel does, and
// fails when the command is killed.
func (s *Server) input(ctx context.Context, ch io.Reader, acc accident) io.Reader {
	r, w := io.Pipe()
	s.running.Go(func() {
		if acc.loseInput {
			_, _ = io.CopyN(io.Discard, ch, lostInput)
		}
		_, _ = io.Copy(w, ch) // a channel that is cut ends like one that is done
		_ = w.Close()
		_, _ = io.Copy(io.Discard, ch)
	})
	context.AfterFunc(ctx, func() { _ = r.CloseWithError(io.ErrClosedPipe) })
	return r
}

// A writer is one of the command's output streams.
type writer struct {
	to  io.Writer
	cmd *command
	cut net.Conn // closed instead of writing anything; may be nil
}

// Write implements [io.Writer].
func (w writer) Write(p []byte) (int, error) {
	if w.cmd.deaf.Load() {
		return 0, io.ErrClosedPipe
	}
	if w.cut != nil {
		_ = w.cut.Close()
	}
	return w.to.Write(p)
}
