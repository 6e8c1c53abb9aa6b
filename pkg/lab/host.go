package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/lab/sshd"
	"keyturn/pkg/lab/winrmd"
	"keyturn/pkg/powershell"
	"keyturn/pkg/secret"
)

// A host is the machine behind a WinRM and an SSH service: it lets
// administrators in and runs what they ask for.
type host struct {
	machine *model.Machine
	dir     string
	socket  string // of the model, with an engine
	run     scriptRunner
	front   *winrmd.Server

	credentials *credentials
	ssh         *sshd.Server
	armed       atomic.Bool // kill after the next stop

	armedCut atomic.Bool // cut the connections after the next stop

	mu      sync.Mutex
	running int
	mended  chan struct{} // closed when the killed commands are gone; nil when none is dying
}

// Authenticate accepts administrators of the machine. Everybody else gets 401
// even with the right password: that is what a Windows machine with its default
// permissions answers over HTTP, and Ansible's documentation names it as the
// first thing to look for.
func (h *host) Authenticate(ctx context.Context, l winrmd.Login) (string, bool) {
	return h.admit(ctx, l.User, l.Domain, l.Check)
}

// admit lets an administrator in whose password passes check.
func (h *host) admit(ctx context.Context, user, domain string, check func(string) bool) (string, bool) {
	if !h.whole(ctx) {
		return "", false
	}
	who, code, err := h.machine.Prove(user, domain, func(p secret.Value) bool { return check(string(p.Reveal())) })
	return who.Account, err == nil && code == model.OK && h.administrator(who)
}

// administrator reports whether an account is in the machine's Administrators:
// the built-in one of the machine or the domain, and the lab's admin.
func (h *host) administrator(who model.Named) bool { return h.administratorSID(who.SID) }

func (h *host) administratorSID(sid string) bool {
	if strings.HasSuffix(sid, "-500") {
		return true
	}
	admin, err := h.machine.Translate(model.PracticeAdmin)
	return err == nil && sid == admin.SID
}

// Run carries out a command line.
func (h *host) Run(ctx context.Context, c winrmd.Command, in io.Reader, out, errs io.Writer) int {
	return h.runLine(ctx, c.Owner, c.Line, in, out, errs)
}

func (h *host) runLine(ctx context.Context, owner, line string, in io.Reader, out, errs io.Writer) int {
	if !h.enter(ctx) {
		return exitKilled
	}
	defer h.leave()
	line = strings.TrimSpace(line)
	if rest, ok := afterCmd(line); ok {
		line = rest
	}
	program, arguments, _ := strings.Cut(line, " ")
	if line == powershell.CommandLine() || h.run.any && strings.EqualFold(program, "powershell.exe") {
		return h.run.script(ctx, h, strings.Fields(arguments), in, out, errs)
	}
	return h.builtin(owner, program, strings.TrimSpace(arguments), in, out, errs)
}

// Exit codes of commands.
const (
	exitKilled     = 1
	exitNotFound   = 1
	exitNotStarted = 255
)

// afterCmd is what follows "cmd /c".
func afterCmd(line string) (string, bool) {
	fields := strings.SplitN(line, " ", 3)
	if len(fields) < 3 || !strings.EqualFold(strings.TrimSuffix(strings.ToLower(fields[0]), ".exe"), "cmd") {
		return "", false
	}
	if !strings.EqualFold(fields[1], "/c") {
		return "", false
	}
	return strings.TrimSpace(fields[2]), true
}

// builtin is the little that the machine's cmd.exe knows.
func (h *host) builtin(owner, program, arguments string, in io.Reader, out, errs io.Writer) int {
	switch strings.TrimSuffix(strings.ToLower(program), ".exe") {
	case "hostname":
		_, _ = fmt.Fprintf(out, "%s\r\n", h.machine.Name())
	case "whoami":
		_, _ = fmt.Fprintf(out, "%s\r\n", strings.ToLower(owner))
	case "echo":
		_, _ = fmt.Fprintf(out, "%s\r\n", arguments)
	case "exit":
		code, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(arguments, "/b")))
		if err != nil {
			return 0
		}
		return code
	case "more", "findstr":
		if _, err := io.Copy(out, in); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			return exitNotFound
		}
	default:
		_, _ = fmt.Fprintf(errs, "'%s' is not recognized as an internal or external command,\r\noperable program or batch file.\r\n",
			program)
		return exitNotFound
	}
	return 0
}

// happened is told everything that happens on the machine.
func (h *host) happened(e model.Event) {
	if e.Kind == model.ServiceStopped && h.armed.CompareAndSwap(true, false) {
		h.kill()
	}
	if e.Kind == model.ServiceStopped && h.armedCut.CompareAndSwap(true, false) {
		h.ssh.Sever()
		_ = h.front.Sever() // it can only fail to listen again, which the next request shows
	}
}

// kill ends every command at once. The model is cut off until they are gone: a
// process that is dying must not do its next step.
func (h *host) kill() {
	h.mu.Lock()
	if h.running > 0 && h.mended == nil {
		h.machine.Cut()
		h.mended = make(chan struct{})
	}
	h.mu.Unlock()
	h.front.KillCommands()
	h.ssh.KillCommands()
}

// whole waits until no command is dying; false says that ctx ended first.
func (h *host) whole(ctx context.Context) bool {
	h.mu.Lock()
	mended := h.mended
	h.mu.Unlock()
	if mended == nil {
		return true
	}
	select {
	case <-mended:
		return true
	case <-ctx.Done():
		return false
	}
}

// enter counts a command.
func (h *host) enter(ctx context.Context) bool {
	if !h.whole(ctx) {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running++
	return true
}

// leave ends a command; the last of those that were killed mends the machine.
func (h *host) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running--
	if h.running == 0 && h.mended != nil {
		h.machine.Mend()
		close(h.mended)
		h.mended = nil
	}
}
