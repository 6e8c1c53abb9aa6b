package commands

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
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
skipped. The first line that fails stops with its exit code; a line that starts
with @ may fail; "quit" ends the batch.

--dry-run runs nothing: it shows the commands and reads their words and flags, so
that one that was mistyped is found before the first has changed anything.`,
		Example: "  keyturn run-batch setup.txt\n  keyturn run-batch --dry-run setup.txt\n  keyturn - --keep-going < setup.txt",
		Args:    cobra.ArbitraryArgs,
	}
	f := cmd.Flags()
	f.BoolVar(&o.keepGoing, "keep-going", false, "run on after a failure; end with the first failure's code")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "show the commands and check their words and flags; run none")
	f.Float64VarP(&o.delay, "delay", "d", 0, "wait so many `SECONDS` between commands")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "with --dry-run, show no commands; else accepted for Commander's sake: they are not shown")
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) { return runBatch(ctx, c, o) })
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
	if !o.dryRun {
		return output.View{}, b.first
	}
	v := messageView(strconv.Itoa(b.ran)+" command(s) would be run; none was.", map[string]any{"commands": append([]string{}, b.shown...)})
	if !o.quiet {
		v.Before = append(b.shown, v.Before...)
	}
	return v, b.first
}

// A batch runs lines. first is the failure it will end with.
type batch struct {
	*Deps
	batchOptions
	run   func(ctx context.Context, words []string) error
	ran   int
	shown []string
	first error
}

// errQuit ends a batch before its end, and is no failure.
var errQuit = errors.New("quit")

// Quits reports whether a line leaves the shell or ends a batch, in Commander's words.
func Quits(words []string) bool {
	return len(words) == 1 && slices.Contains([]string{"quit", "q", "exit"}, strings.ToLower(words[0]))
}

// try shows a line and finds what is wrong with its words, as far as that can be
// known without running it.
func (b *batch) try(_ context.Context, words []string) error {
	shown := make([]string, len(words))
	for i, w := range words {
		shown[i] = Quote(withoutSecret(w))
	}
	b.shown = append(b.shown, strings.Join(shown, " "))
	globals := b.Session.Globals
	defer func() { b.Session.Globals = globals }() // the flags of a line that does not run
	root := newRoot(b.Deps, words)                 //nolint:contextcheck // nothing of it runs
	args, err := prepare(root, words)
	if err != nil {
		return err
	}
	cmd, rest := descend(root, args)
	cmd.InitDefaultHelpFlag()
	if err := cmd.ParseFlags(args[rest:]); err != nil {
		return cmd.FlagErrorFunc()(cmd, err)
	}
	if help, err := cmd.Flags().GetBool("help"); err == nil && help {
		return nil
	}
	if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
		return err
	}
	return missing(cmd)
}

// withoutSecret is a word of a command line without the secret that it carries.
func withoutSecret(word string) string {
	a, err := ParseAssignment(word)
	if err != nil || !isSecretType(a.Type) || a.Value == "" || a.Value[0] == '@' && !strings.HasPrefix(a.Value, "@@") ||
		strings.HasPrefix(a.Value, valueGenerate) {
		return word
	}
	return a.Name() + "=" + masked
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
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	for n := 1; s.Scan(); n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		line := s.Text()
		if n == 1 {
			line = strings.TrimPrefix(line, "\ufeff") // editors of Windows write it
		}
		words, mayFail, err := SplitBatch(line)
		if err == nil {
			err = b.line(ctx, words)
		}
		if err == nil {
			continue
		}
		if errors.Is(err, errQuit) {
			return err
		}
		err = at(name, n, err)
		switch {
		case mayFail:
			b.sayf("%s (ignored)", message(err))
		case !b.keepGoing:
			return err
		default:
			b.Report(err, words)
			b.keep(err)
		}
	}
	if err := s.Err(); err != nil {
		return pam.Errorf(pam.ErrIO, "read %s: %w", name, err)
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
