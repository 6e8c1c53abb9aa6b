package output

import (
	"io"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
)

// Progress shows on a terminal how far something long is, in one line that is
// rubbed out at its end. set says how many of total are done; end must be called,
// however it went. Both are for one goroutine.
func Progress(terminal io.Writer, what string, total int) (set func(done int), end func()) {
	bar := progressbar.NewOptions(total,
		progressbar.OptionSetWriter(&rubber{terminal: terminal}),
		progressbar.OptionSetDescription(Clean(what)),
		progressbar.OptionSetWidth(30),
		progressbar.OptionShowCount(),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)
	return func(done int) { _ = bar.Set(done) }, func() { _ = bar.Finish() }
}

// A rubber rubs out what the library leaves on a console of Windows: there it
// goes back to the line's beginning and does not blank it.
type rubber struct {
	terminal io.Writer
	widest   int
}

func (r *rubber) Write(b []byte) (int, error) {
	text := string(b)
	if text != "\r" {
		r.widest = max(r.widest, width(strings.Trim(text, "\r")))
		return r.terminal.Write(b)
	}
	_, err := io.WriteString(r.terminal, "\r"+strings.Repeat(" ", r.widest)+"\r")
	return len(b), err
}
