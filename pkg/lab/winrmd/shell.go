package winrmd

import (
	"context"
	"strings"
	"sync"
	"time"
)

// A shell holds commands until it is deleted, killed, or idle for too long.
type shell struct {
	id    string
	owner string
	idle  time.Duration
	timer *time.Timer

	mu       sync.Mutex
	ended    bool
	commands map[string]*command
}

// A command is one that runs, or has run and was not yet dismissed.
type command struct {
	cancel context.CancelFunc
	in     *inbox
	out    *outbox

	mu          sync.Mutex
	interrupted bool
}

// exitInterrupted is what a program ends with after Ctrl+C
// (STATUS_CONTROL_C_EXIT).
const exitInterrupted = 0xC000013A

// kill ends the command; a Receive that waits fails.
func (c *command) kill() {
	c.out.vanish()
	c.in.end()
	c.cancel()
}

// interrupt ends the command as Ctrl+C does; a Receive learns its exit code.
func (c *command) interrupt() {
	c.mu.Lock()
	c.interrupted = true
	c.mu.Unlock()
	c.out.silence()
	c.in.end()
	c.cancel()
}

// finish notes how the command ended.
func (c *command) finish(exit int) {
	c.mu.Lock()
	if c.interrupted {
		exit = exitInterrupted
	}
	c.mu.Unlock()
	c.in.end()
	c.out.finish(exit)
	c.cancel()
}

// end kills what runs in the shell.
func (sh *shell) end() {
	sh.timer.Stop()
	sh.mu.Lock()
	sh.ended = true
	commands := sh.commands
	sh.commands = nil
	sh.mu.Unlock()
	for _, c := range commands {
		c.kill()
	}
}

// command finds a command.
func (sh *shell) command(id string) *command {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.commands[id]
}

// dismiss forgets a command.
func (sh *shell) dismiss(id string) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	delete(sh.commands, id)
}

// admit adds a command; otherwise it says why not.
func (sh *shell) admit(id string, c *command) FaultCode {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.ended {
		return FaultShell
	}
	if len(sh.commands) >= maxCommands {
		return FaultOperations
	}
	sh.commands[id] = c
	return ""
}

// open makes a shell; otherwise it says why not.
func (s *Server) open(sh *shell) FaultCode {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return FaultInternal
	}
	own := 0
	for _, other := range s.shells {
		if strings.EqualFold(other.owner, sh.owner) {
			own++
		}
	}
	if own >= maxShells {
		return FaultShells
	}
	s.shells[sh.id] = sh
	sh.timer = time.AfterFunc(s.patience(sh), func() { s.remove(sh.id) })
	return ""
}

// find returns a live shell and counts that as use of it.
func (s *Server) find(id string) *shell {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.shells[id]
	if sh != nil {
		sh.timer.Reset(s.patience(sh))
	}
	return sh
}

// patience is how long a shell may be idle, by this server's hurry.
func (s *Server) patience(sh *shell) time.Duration {
	return sh.idle / time.Duration(max(s.opts.Hurry, 1))
}

// remove ends a shell; false says that there was none.
func (s *Server) remove(id string) bool {
	s.mu.Lock()
	sh := s.shells[id]
	delete(s.shells, id)
	s.mu.Unlock()
	if sh == nil {
		return false
	}
	sh.end()
	return true
}

// launch starts a command in a shell. It lives on when the request's connection
// is cut.
func (s *Server) launch(ctx context.Context, sh *shell, id string, c Command) FaultCode {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	cmd := &command{cancel: cancel, in: newInbox(), out: newOutbox()}
	if code := sh.admit(id, cmd); code != "" {
		cancel()
		return code
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		cancel()
		return FaultInternal
	}
	s.running.Go(func() {
		cmd.finish(s.host.Run(ctx, c, cmd.in, stream{cmd.out, "stdout"}, stream{cmd.out, "stderr"}))
	})
	return ""
}
