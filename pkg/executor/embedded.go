package executor

import (
	"context"
	"io"
	"log/slog"
	"runtime/debug"
	"time"

	"keyturn/pkg/dependency"
	"keyturn/pkg/directory"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/rotator"
)

// Options are what an Embedded works with. Every field is required.
type Options struct {
	Dialers map[pam.Transport]remote.Dialer
	Random  io.Reader // of nonces
	Now     func() time.Time
	Logger  *slog.Logger
}

// An Embedded is the executor that works from this process. It remembers the
// answers of its latest ops and the highest fence of each lane, both for as long
// as it lives.
type Embedded struct {
	options  Options
	lanes    *lanes
	memory   *memory
	rotators func(pam.AuthorityKind, *watchedDialer) (rotator.Rotator, error)
	open     func(context.Context, remote.Dialer, remote.Target) (dependency.Host, error)
}

var _ Executor = (*Embedded)(nil)

// NewEmbedded returns an executor that reaches targets itself.
func NewEmbedded(o Options) *Embedded {
	return &Embedded{
		options: o, lanes: newLanes(), memory: newMemory(remembered),
		rotators: func(kind pam.AuthorityKind, d *watchedDialer) (rotator.Rotator, error) { return newRotator(o, kind, d) },
		open: func(ctx context.Context, d remote.Dialer, t remote.Target) (dependency.Host, error) {
			return dependency.Open(ctx, d, t, dependency.Options{Random: o.Random, Now: o.Now})
		},
	}
}

func newRotator(o Options, kind pam.AuthorityKind, d *watchedDialer) (rotator.Rotator, error) {
	switch kind {
	case pam.AuthorityDirectory:
		return rotator.NewDirectory(directory.Options{Now: o.Now, LoggedIn: d.accepted}), nil
	case pam.AuthorityWindows:
		return rotator.NewWindows(d, rotator.WindowsOptions{Random: o.Random}), nil
	case pam.AuthorityLinux:
		return rotator.NewLinux(d), nil
	default:
		return nil, pam.Errorf(pam.ErrInvalidInput, "no way to change a password at an authority of kind %q; nothing changed", kind).
			WithHint("link the user to a Windows or Linux machine, or to a directory: " +
				"keyturn pam rotation edit -r USER -rs MACHINE --force")
	}
}

// Do carries out op, or waits for and returns the answer of the op of the same
// ID. Events of an op go to the Do that carries it out. An op that was cancelled
// while it waited for its lane was not begun and is not remembered.
func (e *Embedded) Do(ctx context.Context, op Op, on func(Event)) (Result, error) {
	if op.ID == "" || op.Lane == "" || op.Request == nil {
		return Result{}, pam.Errorf(pam.ErrInternal, "an op lacks its id, lane or request; nothing was done")
	}
	if on == nil {
		on = func(Event) {}
	}
	for {
		entry, mine := e.memory.begin(op.ID)
		if mine {
			return e.settle(ctx, entry, op, on)
		}
		select {
		case <-entry.done:
		case <-ctx.Done():
			return Result{State: OpRunning}, pam.Errorf(pam.KindOf(ctx.Err()), "op %s still runs: %w", op.ID, ctx.Err())
		}
		if !entry.forgotten {
			return entry.result, entry.err
		}
	}
}

// Query says what is known of an op, and its failure when it is done.
func (e *Embedded) Query(_ context.Context, id pam.UID) (Result, error) {
	entry := e.memory.find(id)
	if entry == nil {
		return Result{State: OpNeverSeen}, nil
	}
	select {
	case <-entry.done:
		if entry.forgotten {
			return Result{State: OpNeverSeen}, nil
		}
		return entry.result, entry.err
	default:
		return Result{State: OpRunning}, nil
	}
}

// settle does an op that nobody has done, and remembers its answer.
func (e *Embedded) settle(ctx context.Context, entry *entry, op Op, on func(Event)) (Result, error) {
	leave, err := e.lanes.enter(ctx, op)
	if err != nil {
		e.memory.forget(op.ID, entry)
		return Result{State: OpNeverSeen, Outcome: notSent(op)}, err
	}
	defer leave()
	begun := e.options.Now()
	result, err := e.guard(ctx, op, on)
	result.State = OpDone
	e.memory.finish(op.ID, entry, result, err)
	e.log(ctx, op, e.options.Now().Sub(begun), err)
	return result, err
}

// notSent is the outcome of an op that was not begun.
func notSent(op Op) pam.Outcome {
	if _, ok := op.Request.(Set); ok {
		return pam.OutcomeRefused
	}
	return pam.OutcomeNone
}

// guard carries out op within its time, and turns a panic into a failure: one
// op's bug must not end the others, nor leave services stopped half way.
func (e *Embedded) guard(ctx context.Context, op Op, on func(Event)) (result Result, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit(op.Request))
	defer cancel()
	result.Outcome = notSent(op)
	defer func() {
		if cause := recover(); cause != nil {
			e.options.Logger.ErrorContext(ctx, "op panicked", "op", op.ID, "verb", op.Request.verb(), "stack", string(debug.Stack()))
			err = pam.Errorf(pam.ErrInternal, "%s failed inside the executor (%T); what it did is not known", op.Request.verb(), cause).
				WithHint("please report this; the log has the place")
		}
	}()
	err = work{Embedded: e, op: op, on: on, result: &result}.do(ctx)
	return result, err
}

func (e *Embedded) log(ctx context.Context, op Op, took time.Duration, err error) {
	args := []any{"op", op.ID, "verb", op.Request.verb(), "lane", op.Lane, "took", took}
	if err != nil {
		e.options.Logger.WarnContext(ctx, "op failed", append(args, "kind", pam.KindOf(err), "error", err)...)
		return
	}
	e.options.Logger.InfoContext(ctx, "op done", args...)
}

// Times of the verbs. A restart may take as long as its plan allows.
const (
	shortLimit  = 60 * time.Second
	updateLimit = 10 * time.Minute
	maxRestart  = 30 * time.Minute
	// startTries is how often the script starts a service that does not answer.
	startTries = 3
)

func limit(r Request) time.Duration {
	switch q := r.(type) {
	case Update:
		return updateLimit
	case Restart:
		return restartLimit(q.Plan)
	case Repair:
		return restartLimit(q.Plan)
	default:
		return shortLimit
	}
}

// restartLimit is the sum of everything a plan may wait for. A plan is data: its
// numbers are capped before they are added up.
func restartLimit(p pam.RestartPlan) time.Duration {
	times := func(n int, each time.Duration) time.Duration {
		each = min(max(each, 0), maxRestart)
		return time.Duration(min(n, 1000)) * each
	}
	sum := shortLimit + times(len(p.Stops), p.StopTimeout) + times(startTries*len(p.Starts), p.StartTimeout) +
		times(1, p.Settle) + times(len(p.Recycles), shortLimit)
	return min(sum, maxRestart)
}
