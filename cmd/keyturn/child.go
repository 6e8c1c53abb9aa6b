package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// maxReport bounds what a child may say of its failure.
const maxReport = 8 << 10

// A child is a process of this program that goes on without this one: the
// runner of a job, or the agent.
type child struct {
	gone <-chan struct{} // closed when it has ended
	said []byte          // written before gone is closed
}

// A childError is how a child says why it failed.
type childError struct {
	Kind    pam.Kind `json:"kind"`
	Message string   `json:"message"`
	Hint    string   `json:"hint"`
}

// startWithKey starts cmd and hands it the vault key through a pipe. Another
// pipe brings back why it failed, if it does while this process lives.
func startWithKey(cmd *exec.Cmd, key secret.Value) (*child, error) {
	keyR, keyW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	reportR, reportW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, keyR.Close(), keyW.Close())
	}
	passPipes(cmd, keyR, reportW)
	err = cmd.Start()
	_, _ = keyR.Close(), reportW.Close()
	if err == nil {
		_, err = keyW.Write(key.Reveal())
	}
	if err = errors.Join(err, keyW.Close()); err != nil {
		return nil, errors.Join(err, reportR.Close())
	}
	gone := make(chan struct{})
	c := &child{gone: gone}
	go func() {
		defer close(gone)
		c.said, _ = io.ReadAll(io.LimitReader(reportR, maxReport)) // until it ends
		_ = reportR.Close()
		_ = cmd.Wait() // how it ended is in what it saved
	}()
	return c, nil
}

// report is why a child that is gone failed; nil when it did not say.
func (c *child) report() error {
	select {
	case <-c.gone:
	default:
		return nil
	}
	var e childError
	if err := json.Unmarshal(c.said, &e); err != nil || e.Message == "" {
		return nil //nolint:nilerr // it said nothing
	}
	return &pam.Error{Kind: e.Kind, Message: e.Message, Hint: e.Hint}
}

// report tells the process that started this one why it fails. Who started it
// may be gone, and then nobody hears.
func report(err error) {
	if err == nil {
		return
	}
	pipe := reportPipe()
	info, serr := pipe.Stat()
	if serr != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return // a person started it by hand
	}
	text, merr := json.Marshal(childError{pam.KindOf(err), err.Error(), pam.HintOf(err)})
	if merr == nil {
		_, _ = pipe.Write(text)
	}
}
