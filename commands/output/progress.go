package output

import (
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// Progress shows on a terminal how far something long is, in one line that is
// rubbed out at its end. set says how many of total are done; end must be called,
// however it went. Both are for one goroutine.
func Progress(terminal io.Writer, what string, total int) (set func(done int), end func()) {
	bar := progressbar.NewOptions(total,
		progressbar.OptionSetWriter(terminal),
		progressbar.OptionSetDescription(Clean(what)),
		progressbar.OptionSetWidth(30),
		progressbar.OptionShowCount(),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)
	return func(done int) { _ = bar.Set(done) }, func() { _ = bar.Finish() }
}
