package remotetest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// RunLines are the command lines that [Run] answers.
func RunLines() Lines {
	return Lines{
		Cat: "cat", Digest: "digest", Both: "both", Slow: "slow", Hang: "hang",
		Exit: func(code int) string { return "exit " + strconv.Itoa(code) },
		Big:  func(n int) string { return "big " + strconv.Itoa(n) },
	}
}

// Run is a machine's side of [RunLines], for a simulated machine that hands over
// command lines, and returns the exit code. It does nothing for other lines.
func Run(ctx context.Context, line string, in io.Reader, out, errs io.Writer) int {
	verb, rest, _ := strings.Cut(line, " ")
	n, _ := strconv.Atoi(rest)
	switch verb {
	case "cat":
		_, _ = io.Copy(out, in)
	case "digest":
		sum := sha256.New()
		_, _ = io.Copy(sum, in)
		fmt.Fprintf(out, "%x\r\n", sum.Sum(nil))
	case "both":
		fmt.Fprint(out, "out\n")
		fmt.Fprint(errs, "err\n")
	case "big":
		_, _ = io.CopyN(out, Endless{}, int64(n))
	case "slow":
		for i := range 3 {
			fmt.Fprintf(out, "tick %d\n", i+1)
			time.Sleep(100 * time.Millisecond)
		}
	case "hang":
		fmt.Fprint(out, "started\n")
		<-ctx.Done()
	case "exit":
		_, _ = io.Copy(io.Discard, in)
		return n
	}
	return 0
}

// Endless is output "x" without end.
type Endless struct{}

// Read fills p.
func (Endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}
