package commands

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

const (
	maxLine  = 1 << 20
	maxDelay = 24 * 60 * 60 // seconds
)

type batchOptions struct {
	keepGoing, dryRun, quiet bool
	delay                    float64
}

func newRunBatch(d *Deps) *cobra.Command {
	o := batchOptions{}
	cmd := &cobra.Command{
		Use:     "run-batch FILE...",
		Aliases: []string{"run"},
		Short:   "Run commands from files",
		Long: `Run the commands of files, one a line; - is standard input, and "keyturn -" is
short for "keyturn run-batch -". Blank lines and lines that start with # are
skipped, and so is what follows a # between spaces. A line that ends in a \
after a space goes on in the next one. The first line that fails stops with its
exit code; a line that starts with @ may fail; "quit" ends the batch.

--dry-run runs nothing: it shows the commands and reads their words and flags,
so that all that were mistyped are found before the first has changed anything.
Of a line that would be refused it shows the command alone: a secret may have
slipped into the rest.`,
		Example: "  keyturn run-batch setup.txt\n  keyturn run-batch --dry-run setup.txt\n  keyturn - --keep-going < setup.txt",
		Args:    cobra.ArbitraryArgs,
	}
	f := cmd.Flags()
	f.BoolVar(&o.keepGoing, "keep-going", false, "run on after a failure; end with the first failure's code")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "show the commands and check their words and flags; run none")
	f.Float64VarP(&o.delay, "delay", "d", 0, "wait so many `SECONDS` between commands")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "with --dry-run, show no commands; else accepted for Commander's sake: they are not shown")
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		if !o.dryRun && (f.Changed("format") || f.Changed("output")) {
			return output.View{}, usagef("--format and --output are for --dry-run: each line has its own; nothing was run")
		}
		return runBatch(ctx, c, o)
	})
}

func runBatch(ctx context.Context, c *call, o batchOptions) (output.View, error) {
	switch {
	case len(c.args) == 0:
		return output.View{}, usagef("the following arguments are required: FILE").WithHint("keyturn help run-batch")
	case c.Session.batch:
		return output.View{}, usagef("a batch cannot run another batch")
	case o.delay < 0 || o.delay > maxDelay:
		return output.View{}, usagef("argument -d/--delay: %g is not a number of seconds from 0 to %d", o.delay, maxDelay)
	}
	b := &batch{Deps: c.Deps, batchOptions: o, run: func(ctx context.Context, words []string) error { return Execute(ctx, c.Deps, words) }}
	if o.dryRun {
		b.run = b.try
	}
	c.Session.batch = true
	defer func() { c.Session.batch = false }()
	for _, name := range c.args {
		err := b.file(ctx, name)
		if errors.Is(err, errQuit) {
			break
		}
		if err != nil {
			return output.View{}, err
		}
	}
	if o.dryRun {
		return b.found(c)
	}
	return output.View{}, b.first
}

// A batch runs lines. first is the failure it will end with.
type batch struct {
	*Deps
	batchOptions
	run     func(ctx context.Context, words []string) error
	ran     int
	first   error
	shown   []string // by a dry run
	refused []error  // by a dry run
}

// errQuit ends a batch before its end, and is no failure.
var errQuit = errors.New("quit")

// Quits reports whether a line leaves the shell or ends a batch, in Commander's words.
func Quits(words []string) bool {
	return len(words) == 1 && slices.Contains([]string{"quit", "q", "exit"}, strings.ToLower(words[0]))
}

// pause waits before every command but the first.
func (b *batch) pause(ctx context.Context) error {
	if b.ran++; b.ran == 1 || b.delay == 0 || b.dryRun {
		return ctx.Err()
	}
	t := time.NewTimer(time.Duration(b.delay * float64(time.Second)))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (b *batch) file(ctx context.Context, name string) error {
	if name == fromStdin {
		return b.lines(ctx, "standard input", b.In)
	}
	f, err := b.open(ctx, name)
	if err != nil {
		return pam.Errorf(unreadable(pam.ErrIO, err), "read the batch: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	return b.lines(ctx, name, f)
}

func (b *batch) lines(ctx context.Context, name string, r io.Reader) error {
	in := batchLines{s: bufio.NewScanner(r)}
	in.s.Buffer(nil, maxLine)
	for in.next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		words, mayFail, err := SplitLine(in.line)
		if err == nil {
			err = b.line(ctx, words)
		} else if b.dryRun {
			b.shown = append(b.shown, unshown)
		}
		if err == nil {
			continue
		}
		if errors.Is(err, errQuit) {
			return err
		}
		if err = b.failed(at(name, in.first, err), words, mayFail); err != nil {
			return in.stopped(r, err)
		}
	}
	err := in.failure(name)
	if err != nil && b.dryRun {
		b.refused, err = append(b.refused, err), nil
	}
	return err
}

// failed notes why a line failed, or returns it where the batch ends with it.
func (b *batch) failed(err error, words []string, mayFail bool) error {
	switch {
	case mayFail:
		b.sayf("%s (ignored)", message(err))
	case b.dryRun:
		b.refused = append(b.refused, err)
	case !b.keepGoing:
		return err
	default:
		b.Report(err, words)
		b.keep(err)
	}
	return nil
}

// batchLines are the lines of a batch, each with those that it goes on in.
type batchLines struct {
	s     *bufio.Scanner
	line  string
	first int // the number of the line it begins in
	read  int
}

// stopped adds to a failure that ends the batch what was not run because of it. The
// rest of what is no regular file is not counted: its end may be long in coming.
func (l *batchLines) stopped(r io.Reader, err error) error {
	rest := "no line after it was run"
	if f, ok := r.(namedFile); ok && f.regular() {
		n := 0
		for l.next() {
			words, _, bad := SplitLine(l.line)
			if Quits(words) {
				break
			}
			if bad != nil || len(words) > 0 {
				n++
			}
		}
		if n == 0 {
			return err
		}
		rest = fmt.Sprintf("commands after it that were not run: %d", n)
	}
	return &pam.Error{Kind: pam.KindOf(err), Message: message(err) + "; " + rest, Hint: pam.HintOf(err), Err: err}
}

func (l *batchLines) next() bool {
	l.line, l.first = "", l.read+1
	for l.s.Scan() && l.s.Err() == nil { // what came before a failure may be half a line
		text := l.s.Text()
		if l.read++; l.read == 1 {
			text = strings.TrimPrefix(text, "\ufeff") // editors of Windows write it
		}
		head, goesOn := Continued(text)
		l.line += head
		if !goesOn {
			return true
		}
	}
	return l.line != "" && l.s.Err() == nil
}

// failure says why there is no next line, if that is not the end.
func (l *batchLines) failure(name string) error {
	switch err := l.s.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return usagef("%s:%d: the line is longer than %d KiB; it and what follows were not read", name, l.read+1, maxLine>>10)
	case err != nil:
		return pam.Errorf(pam.ErrIO, "%s:%d: cannot be read on: %w", name, l.read+1, err)
	}
	return nil
}

// line runs the words of one line; nil words are none to run.
func (b *batch) line(ctx context.Context, words []string) error {
	if words == nil {
		return nil
	}
	if Quits(words) {
		return errQuit
	}
	if err := b.pause(ctx); err != nil {
		return err
	}
	return b.run(ctx, words)
}

func (b *batch) keep(err error) {
	if b.first == nil {
		b.first = pam.Errorf(pam.KindOf(err), "the batch ran on after a failure; the first one was at %s", message(err))
	}
}

// at says where in a batch err happened; kind and hint stay.
func at(name string, line int, err error) error {
	text := fmt.Sprintf("%s:%d: %s", name, line, message(err))
	return &pam.Error{Kind: pam.KindOf(err), Message: text, Hint: pam.HintOf(err), Err: err}
}
