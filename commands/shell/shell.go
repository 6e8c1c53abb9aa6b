// Package shell is the "My Vault>" prompt over the tree of commands: each line
// is run in a fresh tree, completion asks the same tree, and the end of a job is
// announced above the prompt.
//
// It knows the tree's builder and the terminal, and nothing of any command.
package shell

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	prompt "github.com/c-bata/go-prompt"

	"keyturn/commands"
	"keyturn/pkg/pam"
)

// Options are what a shell works with.
type Options struct {
	Deps    *commands.Deps
	In, Out *os.File // the terminal
	// History is the file of lines typed before; "" keeps none. It is made with
	// mode 0600; lines that carry a secret are left out.
	History string
	// Silently runs f without the process's standard error, to which cobra's
	// completion complains of lines it cannot parse; what Deps.Err names stays.
	Silently func(f func())
	// Idle is how long the prompt waits for a key before it locks the vault; zero
	// is for ever.
	Idle time.Duration
}

// Run reads and runs lines until the person leaves, the terminal goes away or
// the process is told to end. Whatever happens, the terminal is left as it was.
func Run(ctx context.Context, o Options) error {
	s, err := newShell(o) //nolint:contextcheck // the tree that it asks for its flags runs nothing
	if err != nil {
		return err
	}
	defer s.restore()
	// The shell decides what an interrupt means: it ends a command, never the shell.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	// Between two lines an interrupt is nobody's: it must not end the process.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	go func() {
		select {
		case <-signals:
			s.leave.Store(true)
			s.console.wake.Store(true)
			cancel()
		case <-ctx.Done():
		}
	}()
	err = s.loop(ctx)
	if !s.console.ended.Load() {
		s.leaveJobs()
	}
	return err
}

type shell struct {
	deps     *commands.Deps
	out      *os.File
	silently func(func())
	console  *console
	prompt   *prompt.Prompt
	history  *history
	search   search
	globals  []string // the flags that every command has
	asked    []string // what the tree was asked for this line, and what it said
	answer   string
	prefixed string // the prompt that was drawn last
	standing string // what stands in the line since the last key
	kill     string // what was taken out of a line last
	restore  func()
	leave    flag
	idle     time.Duration
	expired  flag // nobody typed anything for idle
	locked   flag // as Session.Locked at the last prompt, for goroutines

	mu      sync.Mutex
	news    []string  // to be said above the prompt
	lines   []string  // of a command that goes on after a backslash
	running []pam.Job // begun here, and their end was not told
}

func newShell(o Options) (*shell, error) {
	s := &shell{out: o.Out, silently: o.Silently, idle: o.Idle, console: newConsole(o.In, o.Out)}
	restore, err := s.console.tty.raw()
	if err != nil {
		return nil, pam.Errorf(pam.ErrIO, "the terminal cannot be used: %w", err)
	}
	if err := restore(); err != nil {
		return nil, pam.Errorf(pam.ErrIO, "the terminal cannot be used: %w", err)
	}
	s.restore = func() { _ = restore() }
	d := *o.Deps
	d.Interactive = true
	d.StartJob = s.announced(o.Deps.StartJob)
	s.deps = &d
	s.console.say, s.console.interrupted = s.tell, s.abandon
	s.history = openHistory(o.History)
	s.search.history = s.history
	d.History = func() []string { return slices.Clone(s.history.last) }
	s.prompt = prompt.New(
		func(string) {}, s.complete,
		prompt.OptionParser(s.console), prompt.OptionLivePrefix(s.prefix),
		prompt.OptionHistory(s.history.lines()), prompt.OptionCompletionWordSeparator(" "),
		prompt.OptionPrefixTextColor(prompt.DefaultColor), prompt.OptionInputTextColor(prompt.DefaultColor),
		prompt.OptionSetExitCheckerOnInput(func(line string, _ bool) bool {
			if s.standing = line; line == "" {
				s.drawn(prompt.Document{})
			}
			return s.console.woken.Load()
		}),
	)
	for _, bind := range s.keys() {
		if err := bind(s.prompt); err != nil {
			return nil, pam.Errorf(pam.ErrInternal, "bind the keys of the prompt: %w", err)
		}
	}
	s.globals = commands.GlobalFlags(s.deps)
	return s, nil
}

func (s *shell) loop(ctx context.Context) error {
	for {
		s.say()
		line := s.input()
		switch {
		case s.console.ended.Load() || s.leave.Load():
			return nil
		case s.console.woken.Load():
			s.eraseLine()
			if s.expired.Swap(false) {
				s.lock()
			}
			continue
		case line == "" && s.console.lastKey.Load() == keyControlD:
			return nil
		}
		whole, complete := s.collect(line)
		if !complete {
			continue
		}
		if s.run(ctx, whole) {
			return nil
		}
		if s.deps.Session.Locked {
			s.forget()
		}
	}
}

// input reads one line. While the vault is open, a prompt at which nobody types
// is given up after a while.
func (s *shell) input() string {
	s.locked.Store(s.deps.Session.Locked)
	s.asked, s.answer = nil, ""
	if s.idle > 0 && !s.deps.Session.Locked {
		timer := time.AfterFunc(s.idle, func() {
			s.expired.Store(true)
			s.console.wake.Store(true)
		})
		defer timer.Stop()
		s.console.onKey = func() { timer.Reset(s.idle) }
		defer func() { s.console.onKey = nil }()
	}
	if !s.console.woken.Load() {
		s.drawn(prompt.Document{})
	}
	return s.prompt.Input()
}

// lock is what an idle prompt comes to. What stands half typed may hold a secret.
func (s *shell) lock() {
	s.abandon()
	s.deps.LockSession()
	s.forget()
	s.console.dropLine()
	_, _ = fmt.Fprintf(s.out, "The vault is locked: nothing was typed for %s. Jobs that run go on.\n", s.idle)
}

// forget takes the lines that carry a secret from those that keys bring back, and
// drops what was pasted before the lock: who sits at a locked shell must not see them.
func (s *shell) forget() {
	_ = prompt.OptionHistory(s.history.lines())(s.prompt)
	s.kill = ""
	if !s.locked.Load() {
		s.console.drop()
	}
}

// collect joins a line that ends in a backslash with those that follow it.
func (s *shell) collect(line string) (whole string, complete bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	head, goesOn := commands.Continued(line)
	s.lines = append(s.lines, head)
	if goesOn {
		return "", false
	}
	whole = strings.Join(s.lines, "")
	s.lines = nil
	return whole, true
}

// abandon forgets the lines that were to go on.
func (s *shell) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = nil
}

// run runs one line, by the rules of a batch, and reports whether it asks to leave.
// An interrupt ends the command and nothing else.
func (s *shell) run(ctx context.Context, line string) (leave bool) {
	if strings.TrimSpace(line) == "" {
		return false
	}
	s.history.add(line)
	words, _, err := commands.SplitLine(line)
	if err != nil {
		s.deps.Report(err, nil)
		return false
	}
	if words == nil {
		return false
	}
	if commands.Quits(words) {
		return true
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	commands.Run(ctx, s.deps, words)
	return false
}

// prefix is the prompt: the vault, and the folder one is in.
func (s *shell) prefix() (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prefixed = "... "
	if len(s.lines) == 0 {
		s.prefixed = "My Vault" + s.folder() + "> "
	}
	return s.prefixed, true
}

// shownPath is how much of a folder's path a prompt shows, from its end.
const shownPath = 37

func (s *shell) folder() string {
	if s.deps.Session.Folder == "" {
		return ""
	}
	ctx := context.Background()
	v, err := s.deps.Vault(ctx)
	if err != nil {
		return ""
	}
	path, err := v.FolderPath(ctx, s.deps.Session.Folder)
	if err != nil || path == "/" {
		return ""
	}
	if r := []rune(path); len(r) > shownPath {
		path = "/..." + string(r[len(r)-shownPath:])
	}
	return strings.Map(printable, path)
}

// tell has a text said above the prompt, at once if the prompt waits.
func (s *shell) tell(text string) {
	s.mu.Lock()
	s.news = append(s.news, text)
	s.mu.Unlock()
	s.console.wake.Store(true)
}

func (s *shell) say() {
	s.mu.Lock()
	news := s.news
	s.news = nil
	s.mu.Unlock()
	for _, n := range news {
		for line := range strings.SplitSeq(n, "\n") {
			_, _ = fmt.Fprintln(s.out, strings.Map(printable, line))
		}
	}
}

// printable drops what must not reach a terminal raw: text of records and
// targets may be in it.
func printable(r rune) rune {
	if r < 0x20 || (r >= 0x7f && r < 0xa0) || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069) {
		return '?'
	}
	return r
}
