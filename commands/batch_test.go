package commands

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"keyturn/pkg/pam"
)

// What came of a line before it could not be read on is another command: "rm old" of
// "rm old-copy".
func TestABatchRunsNoHalfLine(t *testing.T) {
	t.Parallel()
	broken := iotest.ErrReader(errors.New("the disk is broken"))
	long := strings.Repeat("x", maxLine)
	for _, tt := range []struct {
		name, says string
		in         io.Reader
		kind       error
	}{
		{
			"a reader that fails within a line", "b:2: cannot be read on: the disk is broken",
			io.MultiReader(strings.NewReader("ls\nrm old"), broken), pam.ErrIO,
		},
		{
			"one that fails before a line goes on", "b:3: cannot be read on",
			io.MultiReader(strings.NewReader("ls\nrm old \\\n"), broken), pam.ErrIO,
		},
		{
			"a very long line", "b:2: the line is longer than 1024 KiB",
			strings.NewReader("ls\n" + long + "\nls\n"), pam.ErrUsage,
		},
		{
			"a line that goes on in a very long one", "b:3: the line is longer than 1024 KiB",
			strings.NewReader("ls\nrm old \\\n" + long + "\nls\n"), pam.ErrUsage,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var ran []string
			b := &batch{Deps: &Deps{}, run: func(_ context.Context, words []string) error {
				ran = append(ran, strings.Join(words, " "))
				return nil
			}}
			err := b.lines(t.Context(), "b", tt.in)
			if err == nil || !strings.Contains(err.Error(), tt.says) || !errors.Is(err, tt.kind) {
				t.Errorf("it ended with %v", err)
			}
			if len(ran) != 1 || ran[0] != "ls" {
				t.Errorf("it ran %q", ran)
			}
		})
	}
}
