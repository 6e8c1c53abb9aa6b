package output_test

import (
	"bytes"
	"strings"
	"testing"

	"keyturn/commands/output"
)

func TestProgressIsRubbedOut(t *testing.T) {
	t.Parallel()
	for _, last := range []int{50, 100} { // cut off, or done
		var b bytes.Buffer
		set, end := output.Progress(&b, "importing \x1b[31mrecords", 100)
		set(0)
		set(last)
		end()
		text := b.String()
		if strings.Contains(text, "\x1b[31m") || strings.Contains(text, "\n") {
			t.Errorf("printed %q", text)
		}
		// The last thing printed is a line of blanks, and the way back to its beginning.
		lines := strings.Split(strings.TrimSuffix(text, "\r"), "\r")
		if !strings.HasSuffix(text, "\r") || strings.TrimSpace(lines[len(lines)-1]) != "" {
			t.Errorf("left behind: %q", text)
		}
	}
}
