package winrm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// A pump is one command from its start to its end.
type pump struct {
	*session
	script  remote.Script
	command string
	result  remote.Result
	sent    bool // the last chunk of input went out
	done    bool // the machine said that the command ended
}

// maxRetries is how often in a row output is asked for again after the
// connection broke.
const maxRetries = 5

// fail types an error of this command. Where a session was open, a machine that
// no longer answers is a session that broke.
func (p *pump) fail(ctx context.Context, err error) error {
	out := remote.Typed(ctx, p.client.t.Address(), "run the command", err, p.sent)
	if out.Kind == pam.ErrUnreachable && ctx.Err() == nil {
		out.Kind, out.Broken = pam.ErrIO, true
	}
	return out
}

// start starts the command. A shell that has used up its quota is replaced,
// once; nothing has run by then.
func (p *pump) start(ctx context.Context) error {
	err := p.tryStart(ctx)
	var fault *Fault
	if !errors.As(err, &fault) || fault.Code != codeQuota || p.left {
		return err
	}
	p.log().DebugContext(ctx, "the shell's quota is used up, opening another", slog.Any("error", err))
	if err := p.deleteShell(ctx); err != nil {
		p.log().DebugContext(ctx, "the old shell was not deleted", slog.Any("error", err))
	}
	if err := p.openShell(ctx); err != nil {
		return err
	}
	return p.tryStart(ctx)
}

func (p *pump) tryStart(ctx context.Context) error {
	body, err := p.requests().command(p.shell, p.script.Line)
	if err != nil {
		return failure(pam.ErrIO, "start the command", err)
	}
	a, err := p.client.post(ctx, request{op: "start the command", action: actionCommand, body: body})
	if err != nil {
		return err
	}
	if !validID(a.command) {
		return failure(pam.ErrIO, "start the command", errors.New("the machine named no usable command"))
	}
	p.command = a.command
	return nil
}

// send sends the input, its end with the last chunk. Every failure is final: a
// chunk may have arrived although its answer did not, and the frame around the
// input makes a missing one harmless, a doubled one not so surely. The chunks are
// as few as can be and of one size: with hundreds of machines at once the largest
// is what our memory goes to.
func (p *pump) send(ctx context.Context, in []secret.Value) error {
	var rest inputParts
	for _, part := range in {
		rest = append(rest, part.Reveal())
	}
	left := rest.size()
	chunks := max((left+chunkSize-1)/chunkSize, 1)
	for size := (left + chunks - 1) / chunks; ; {
		var chunk inputParts
		chunk, rest = rest.cut(size)
		left -= chunk.size()
		if err := p.sendChunk(ctx, chunk, left == 0); err != nil || left == 0 {
			return err
		}
	}
}

func (p *pump) sendChunk(ctx context.Context, chunk inputParts, last bool) error {
	body, err := p.requests().send(p.shell, p.command, chunk, last)
	if err != nil {
		return failure(pam.ErrInternal, "send input", err)
	}
	defer clear(body)
	r := request{op: "send input", action: actionSent, body: body, out: func() { p.sent = p.sent || last }}
	_, err = p.client.post(ctx, r)
	return err
}

// collect asks for output until the command has ended. Output lost with a
// broken connection is not sent again by Windows, so what is returned can have
// a hole after one: the caller's own end marker is the proof.
func (p *pump) collect(ctx context.Context) error {
	broken, empty := 0, 0
	for !p.done {
		asked := p.client.o.Now()
		got, err := p.receive(ctx)
		switch {
		case err == nil && got > 0:
			broken, empty = 0, 0
			continue
		case err == nil:
			// A real machine waits before it says that there is nothing. One that
			// does not is asked less and less often.
			broken, empty = 0, empty+1
			if p.done || p.client.o.Now().Sub(asked) > p.client.o.Operation/2 {
				empty = 0
				continue
			}
		case !retriable(ctx, err) || broken >= maxRetries:
			return p.lost(broken, err)
		default:
			broken++
			p.log().DebugContext(ctx, "the connection broke, asking for output again", slog.Any("error", err))
		}
		if err := p.pause(ctx, max(broken, empty)); err != nil {
			return err
		}
	}
	return nil
}

// hear takes the last words of a command that ended before it had read its input:
// they say why, and the broken pipe does not. That there are none changes nothing.
func (p *pump) hear(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, p.client.o.Closing)
	defer cancel()
	if err := p.collect(ctx); err != nil {
		p.log().DebugContext(ctx, "a command that took no input said nothing more", slog.Any("error", err))
	}
}

// lost is err, or the broken connection that it comes of: the machine does not know
// a command any more whose end it told to a connection that broke.
func (*pump) lost(broken int, err error) error {
	var fault *Fault
	if broken > 0 && errors.As(err, &fault) && fault.gone() {
		return failure(pam.ErrUnreachable, "receive output", err)
	}
	return err
}

// retriable reports whether the way to the machine broke, rather than the
// machine saying no or the caller giving up.
func retriable(ctx context.Context, err error) bool {
	return ctx.Err() == nil && errors.Is(err, pam.ErrUnreachable)
}

// receive asks for output once and returns how much came.
func (p *pump) receive(ctx context.Context) (int, error) {
	body := p.requests().receive(p.shell, p.command)
	a, err := p.client.post(ctx, request{op: "receive output", action: actionOutput, body: body, again: true})
	var fault *Fault
	if errors.As(err, &fault) && fault.timedOut() {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if !belongs(a.stateCommand, p.command) {
		return 0, failure(pam.ErrIO, "receive output", errors.New("the machine answers for another command"))
	}
	got := 0
	for _, st := range a.streams {
		if err := p.take(st); err != nil {
			return got, err
		}
		got += len(st.data)
	}
	p.done, p.result.ExitCode = a.done, a.exitCode
	return got, nil
}

// take keeps and shows one piece of output.
func (p *pump) take(st stream) error {
	if !belongs(st.command, p.command) {
		return failure(pam.ErrIO, "receive output", errors.New("the machine sends another command's output"))
	}
	if len(p.result.Stdout)+len(p.result.Stderr)+len(st.data) > remote.MaxOutput {
		return failure(pam.ErrIO, "receive output", fmt.Errorf("the command wrote more than %d bytes", remote.MaxOutput))
	}
	switch st.name {
	case "stdout":
		p.result.Stdout = append(p.result.Stdout, st.data...)
		if p.script.OnOutput != nil && len(st.data) > 0 {
			p.script.OnOutput(st.data)
		}
	case "stderr":
		p.result.Stderr = append(p.result.Stderr, st.data...)
	default:
		return failure(pam.ErrIO, "receive output", errors.New("the machine names a stream that is none"))
	}
	return nil
}

// settle tidies up after a command that did not end by itself: one that is to be
// kept, and has its input, is left alone, any other is ended. Of one that ended
// the shell's deletion leaves nothing. Failures change nothing.
func (p *pump) settle(ctx context.Context) {
	if p.command == "" || p.done {
		return
	}
	if p.script.KeepRunning && p.sent {
		p.left = p.left || !p.done
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.client.o.Closing)
	defer cancel()
	r := request{op: "end the command", action: actionSignal, body: p.requests().terminate(p.shell, p.command)}
	if _, err := p.client.post(ctx, r); err != nil {
		p.log().DebugContext(ctx, "the command was not ended", slog.Any("error", err))
	}
}
