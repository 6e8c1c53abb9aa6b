package powershell

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

const (
	// defaultDeadline is the script's when ctx has none.
	defaultDeadline = 10 * time.Minute
	nonceSize       = 16
)

// Call runs one request on a machine and returns its answer. It fills in the
// request's version, nonce (from random) and deadline (from ctx). on, when not
// nil, hears each line of the answer as it arrives, already rid of secrets.
//
// The error is a *[pam.Error], or a *[remote.Error] of the session. The answer
// that comes with one holds what arrived until then: an item that it does not
// name may be in any state. Restart and repair are left running on the machine
// when ctx ends.
func Call(ctx context.Context, s remote.Session, random io.Reader, req Request, secrets []secret.Value,
	on func(Line),
) (Answer, error) {
	return call(ctx, s, random, encodedMain(), req.Op == OpRestart || req.Op == OpRepair, req, secrets, on)
}

// A Main is a script that answers as the shipped one does.
type Main struct {
	Script      []byte
	KeepRunning bool // it is left running on the machine when the context ends
}

// CallMain is [Call] with another script: a tool's own, on the same constant
// command line and under the same rules for secrets.
func CallMain(ctx context.Context, s remote.Session, random io.Reader, main Main, req Request, secrets []secret.Value,
	on func(Line),
) (Answer, error) {
	encoded := base64.StdEncoding.AppendEncode(nil, main.Script)
	return call(ctx, s, random, encoded, main.KeepRunning, req, secrets, on)
}

// call is CallMain with the script as frames carry it.
func call(ctx context.Context, s remote.Session, random io.Reader, main []byte, keepRunning bool, req Request, secrets []secret.Value,
	on func(Line),
) (Answer, error) {
	nonce := make([]byte, nonceSize)
	if _, err := io.ReadFull(random, nonce); err != nil {
		return Answer{}, pam.Errorf(pam.ErrInternal, "draw a nonce: %w", err)
	}
	req.V = 1
	req.Nonce = hex.EncodeToString(nonce)
	req.DeadlineMs = deadline(ctx).Milliseconds()
	f, err := encodeFrame(main, req, secrets)
	if err != nil {
		return Answer{}, err
	}
	defer f.destroy()

	c := NewCollector(req.Nonce, secrets, on)
	res, err := s.Run(ctx, remote.Script{
		Line:        CommandLine(),
		OnOutput:    func(chunk []byte) { _, _ = c.Write(chunk) },
		KeepRunning: keepRunning,
	}, f.parts()...)
	stderr := res.Stderr[:min(len(res.Stderr), maxNoise)]
	c.noise(stderr)
	answer, ended := c.Finish()
	var fatal *FatalError
	switch {
	case ended == nil && err == nil:
		return answer, nil
	case errors.As(ended, &fatal): // says more than the pipe it broke
		return answer, ended
	case err != nil && answer.Bye.T == "":
		return answer, fmt.Errorf("%s: %w", req.Op, err)
	case ended != nil:
		return answer, pam.Errorf(pam.KindOf(ended), "%s: %w (exit code %d)", req.Op, ended, res.ExitCode).
			WithHint("What the machine did is not known. The debug log holds what else it said.")
	}
	return answer, nil // the answer is whole, whatever became of the session after it
}

// deadline leaves the script a little less time than we wait, so that its end
// marker arrives.
func deadline(ctx context.Context) time.Duration {
	at, ok := ctx.Deadline()
	if !ok {
		return defaultDeadline
	}
	left := time.Until(at)
	return max(left-min(left/10, 5*time.Second), 0)
}
