package commands

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

const maxLine = 1 << 20

func newRunBatch(d *Deps) *cobra.Command {
	var keepGoing bool
	cmd := &cobra.Command{
		Use:     "run-batch FILE...",
		Aliases: []string{"run"},
		Short:   "Run commands from files",
		Long: `Run the commands of files, one a line; - is standard input, and "keyturn -" is
short for "keyturn run-batch -". Blank lines and lines that start with # are
skipped. The first line that fails stops with its exit code; a line that starts
with @ may fail.`,
		Example: "  keyturn run-batch setup.txt\n  keyturn - --keep-going < setup.txt",
		Args:    cobra.ArbitraryArgs,
	}
	cmd.Flags().BoolVar(&keepGoing, "keep-going", false, "run on after a failure; end with the first failure's code")
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		if len(c.args) == 0 {
			return output.View{}, usagef("the following arguments are required: FILE").WithHint("keyturn help run-batch")
		}
		if c.Session.batch {
			return output.View{}, usagef("a batch cannot run another batch")
		}
		b := &batch{Deps: c.Deps, keepGoing: keepGoing}
		c.Session.batch = true
		defer func() { c.Session.batch = false }()
		for _, name := range c.args {
			if err := b.file(ctx, name); err != nil {
				return output.View{}, err
			}
		}
		return output.View{}, b.first
	})
}

// A batch runs lines. first is the failure it will end with.
type batch struct {
	*Deps
	keepGoing bool
	first     error
}

func (b *batch) file(ctx context.Context, name string) error {
	if name == fromStdin {
		return b.lines(ctx, "standard input", b.In)
	}
	full, err := b.path(name)
	if err != nil {
		return err
	}
	f, err := os.Open(full) //nolint:gosec // the user names the file
	if err != nil {
		return pam.Errorf(pam.ErrIO, "read the batch: %w", err)
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
		if err == nil && words == nil {
			continue
		}
		if err == nil {
			err = Execute(ctx, b.Deps, words)
		}
		if err == nil {
			continue
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
