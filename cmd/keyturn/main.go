// Command keyturn rotates the passwords of Windows and Linux service accounts
// and brings the new password to everything that runs as them.
//
// It only wires: what a command does is in package commands.
package main

import (
	"context"
	"crypto/rand"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"

	"keyturn/commands"
	"keyturn/vault/keyring"
)

// version is set by the linker for releases.
var version string

func main() {
	harden()
	os.Exit(run(os.Args[1:]))
}

// run is main with an exit code.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second interrupt ends this process at once. A job goes on in its own.
	context.AfterFunc(ctx, stop)

	// Asked for, it ends nobody: a write fails instead, and [stream] says so. Children do
	// not inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	p := newProcess(wire())
	defer p.close()
	return commands.Run(ctx, p.d, args)
}

// newProcess gives d what a process of this program can do.
func newProcess(d *commands.Deps) *process {
	p := &process{d: d, anchors: stateFile("anchors")}
	d.Vault, d.CreateVault, d.Reopen, d.Salvage, d.Lock = p.vault, p.createVault, p.reopen, p.salvage, p.lock
	d.StartJob, d.RunJob, d.DryRun = p.startJob, p.runJob, p.dryRun
	d.StartAgent, d.StopAgent, d.RunAgent = p.startAgent, p.stopAgent, p.runAgent
	d.Discover, d.Examine = p.discover, p.examine
	d.Shell, d.Interrupts, d.Thrift = p.shell, interrupts, thrift
	return p
}

// interrupts tells of each interrupt until stop is called.
func interrupts() (heard <-chan os.Signal, stop func()) {
	const enough = 2
	c := make(chan os.Signal, enough)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	return c, func() { signal.Stop(c) }
}

// thrift collects garbage when it is a quarter of what is held, not as much again:
// more often, which costs little where most of what is held has no pointers.
func thrift() (end func()) {
	const percent = 25
	before := debug.SetGCPercent(percent)
	return func() { debug.SetGCPercent(before) }
}

func wire() *commands.Deps {
	return &commands.Deps{
		In: os.Stdin, Out: stream{os.Stdout}, Err: stream{os.Stderr},
		InIsTerminal:  func() bool { return isTerminal(os.Stdin) },
		OutIsTerminal: func() bool { return isTerminal(os.Stdout) },
		ErrIsTerminal: func() bool { return isTerminal(os.Stderr) },
		Columns:       columns,
		Now:           time.Now,
		Random:        rand.Reader,
		Getenv:        os.Getenv,
		WorkDir:       os.Getwd,
		DataDir:       dataDir,
		Version:       programVersion(),
		ReadSecret:    readSecret,
		ReadLine:      readLine,
		Clipboard:     copyToClipboard,
		Keyring:       keyring.New(os.Getenv, exists, os.Getuid()),
		Session:       &commands.Session{},
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func isTerminal(f *os.File) bool { return isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd()) }

// columns is how wide the terminal is that a stream goes to; zero where it is none.
func columns(w io.Writer) int {
	if s, ok := w.(stream); ok && isTerminal(s.f) {
		return screenColumns(s.f)
	}
	return 0
}

// A stream is where a command writes. Once nobody reads there, writes fail with
// [commands.ErrNobodyReads], and the program goes on: a job that it waits for still
// decides the exit code.
type stream struct{ f *os.File }

func (s stream) Write(b []byte) (int, error) {
	n, err := s.f.Write(b)
	if readerGone(err) {
		err = commands.ErrNobodyReads
	}
	return n, err
}

func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "devel"
}
