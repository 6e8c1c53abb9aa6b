package job

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"keyturn/pkg/executor"
	"keyturn/pkg/pam"
	"keyturn/pkg/schedule"
)

// A Config is what an Engine works with. Every field but Limits is required.
type Config struct {
	Store    Store
	Executor executor.Executor
	Random   io.Reader
	Now      func() time.Time
	Log      *slog.Logger
	// ReadFile reads a CA file that a machine's record names.
	ReadFile func(name string) ([]byte, error)
	// Lock takes the lock of one account until release is called or the process
	// ends; ErrConflict when somebody else holds it.
	Lock   func(ctx context.Context, account pam.UID) (release func() error, err error)
	Limits Limits
}

// MemoryLimit is what a process that runs a job should tell Go's collector, in
// bytes: with hundreds of sessions at once most of its memory is what is done
// with, and nobody waits for a job's processor as they wait for its machines.
const MemoryLimit = 48 << 20

// Limits bound one job. The zero Limits are the defaults.
type Limits struct {
	Machines int           // looked at or updated at once; 0 is 256
	Retries  int           // of a read that settles a lost answer; 0 is 5
	Backoff  time.Duration // before the first retry, then doubled; 0 is 1 s
	// Busy is how long a job whose password is staged waits for a machine that
	// another run works on; 0 is 5 min: more than a stop and a start may take.
	Busy time.Duration
}

func (l Limits) withDefaults() Limits {
	if l.Machines == 0 {
		l.Machines = 256
	}
	if l.Retries == 0 {
		l.Retries = 5
	}
	if l.Backoff == 0 {
		l.Backoff = time.Second
	}
	if l.Busy == 0 {
		l.Busy = 5 * time.Minute
	}
	return l
}

// An Engine runs jobs. It is safe for concurrent use; each job is run by one
// goroutine at a time, which the account's lock sees to.
type Engine struct {
	cfg Config
}

// New returns an Engine.
func New(cfg Config) *Engine {
	cfg.Limits = cfg.Limits.withDefaults()
	return &Engine{cfg: cfg}
}

// Plan looks at the authority and every mapped machine and says what a rotation
// of the user would do. It changes nothing and writes nothing.
func (e *Engine) Plan(ctx context.Context, user pam.UID, o pam.JobOptions) (pam.Plan, error) {
	r := e.newRun(pam.Job{User: user, Options: o})
	r.dry = true
	if err := r.look(ctx); err != nil {
		return pam.Plan{}, err
	}
	return r.plan, r.approved()
}

// Run carries a job from where it stands to its end: a new one from the start,
// a cut or partial one from what is known of it. The returned job says how it
// ended; the error is only for a job that could not be read, locked or saved.
// ctx stops the job until a password is staged; from then on it runs to its end.
func (e *Engine) Run(ctx context.Context, id pam.UID) (pam.Job, error) {
	j, err := e.cfg.Store.Job(ctx, id)
	if err != nil {
		return pam.Job{}, err
	}
	if j.State.Terminal() && j.State != pam.JobPartial && j.Errand == pam.ErrandAll {
		return j, nil
	}
	release, err := e.cfg.Lock(ctx, j.Account)
	if err != nil {
		return j, err
	}
	r := e.newRun(j)
	r.release = append(r.release, release)
	defer r.unlock()
	return r.run(ctx)
}

// A run is one Engine.Run under way. Its fields belong to the run's goroutine;
// what parallel work on machines shares is behind its own lock (steps, ration).
type run struct {
	*Engine
	job     pam.Job
	dry     bool
	ration  *ration
	release []func() error

	settings  pam.RotationSettings
	policy    pam.Policy       // the account's, with what the job overrides
	window    *schedule.Window // when restarts are allowed; nil is always
	account   pam.Account
	authority authority
	earlier   []pam.Job // the account's partial jobs from before this one
	sites     []*site
	disabled  []*site // mapped, and switched off
	plan      pam.Plan
	evidence  pam.Evidence
	pending   pam.Generation
	maybeSent bool      // a former run or job may have sent the pending password
	setAt     time.Time // when the password was sent
	length    int       // of the password that the job goes back to, in characters; 0: a new one
	unlocked  bool      // the account was locked out, and this run let it in again
	// acknowledged: the authority said that it applied the pending password.
	acknowledged bool
	steps        steps
}

func (e *Engine) newRun(j pam.Job) *run {
	r := &run{Engine: e, job: j, ration: newRation()}
	r.steps = steps{store: e.cfg.Store, now: e.cfg.Now, job: j.ID, items: map[itemKey]pam.Item{}, fresh: map[itemKey]bool{}}
	for _, i := range j.Items {
		r.steps.items[keyOf(i)] = i
	}
	return r
}

func (r *run) unlock() {
	for _, release := range r.release {
		if err := release(); err != nil {
			r.cfg.Log.Error("release account lock", "job", r.job.ID, "error", err)
		}
	}
}

// run is the life of a job: look, change, follow. What was staged is never
// given up: every failure from then on leaves the job partial or open.
func (r *run) run(ctx context.Context) (pam.Job, error) {
	if r.job.Started.IsZero() {
		r.job.Started = r.cfg.Now()
	}
	r.job.State, r.job.Failure, r.job.Message, r.job.Hint = pam.JobRunning, "", "", ""
	r.job.Finished = time.Time{}
	if err := r.cfg.Store.SetJob(ctx, r.job); err != nil {
		return r.job, err
	}
	err := r.phases(ctx)
	return r.finish(context.WithoutCancel(ctx), err)
}

func (r *run) phases(ctx context.Context) error {
	if err := r.lookPhase(ctx); err != nil {
		return err
	}
	// From here on a stop would leave the account half changed: finishing is safer.
	ctx = context.WithoutCancel(ctx)
	switch {
	case r.superseded():
		return r.startStopped(ctx)
	case r.job.Errand.Restarts():
		return r.restartLeft(ctx)
	}
	if !r.job.Committed {
		if err := r.change(ctx); err != nil {
			return err
		}
	}
	return r.follow(ctx)
}

// lookPhase looks at everything while the job can still be stopped, and makes
// the plan durable.
func (r *run) lookPhase(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	look, stop := r.watchCancel(ctx)
	err := r.look(look)
	cancelled := stop()
	if cancelled && r.job.Generation == 0 {
		return pam.Errorf(pam.ErrInterrupted, "the rotation of %s was cancelled; nothing changed", r.account.Name)
	}
	if err != nil {
		return err
	}
	if err := r.approved(); err != nil {
		return err
	}
	fence, err := r.cfg.Store.Open(ctx, r.job.ID, r.plan)
	if err != nil {
		return err
	}
	r.job.Fence = fence
	return nil
}

// cancelPoll is how often a looking job asks whether somebody cancelled it.
const cancelPoll = 200 * time.Millisecond

// watchCancel returns a context that ends when the store says that the job is
// cancelled. stop ends the watch and reports whether that happened.
func (r *run) watchCancel(ctx context.Context) (watched context.Context, stop func() bool) {
	watched, cancel := context.WithCancel(ctx)
	asked := make(chan bool, 1)
	go func() {
		tick := time.NewTicker(cancelPoll)
		defer tick.Stop()
		for {
			yes, err := r.cfg.Store.CancelRequested(watched, r.job.ID)
			if yes && err == nil {
				cancel()
				asked <- true
				return
			}
			select {
			case <-tick.C:
			case <-watched.Done():
				asked <- ctx.Err() != nil
				return
			}
		}
	}()
	return watched, func() bool {
		cancel()
		return <-asked
	}
}

// finish writes down how the job ended.
func (r *run) finish(ctx context.Context, err error) (pam.Job, error) {
	r.job.State, r.job.Failure, r.job.Message, r.job.Hint = r.ending(err)
	r.job.Finished = r.cfg.Now()
	if r.job.State == pam.JobOpen {
		r.job.Finished = time.Time{}
	} else {
		r.job.Phase = pam.PhaseDone
	}
	r.job.Items = r.steps.all()
	if serr := errors.Join(r.steps.failure(), r.cfg.Store.SetJob(ctx, r.job)); serr != nil {
		return r.job, serr
	}
	r.cfg.Log.InfoContext(ctx, "job ended", "job", r.job.ID, "state", r.job.State, "failure", r.job.Failure)
	return r.job, nil
}

// ending decides the state of a job from where it stands and what went wrong.
func (r *run) ending(err error) (state pam.JobState, failure pam.Kind, message, hint string) {
	switch {
	case err == nil && !r.steps.left():
		return pam.JobFinished, "", r.finishedMessage(), ""
	case err == nil:
		message, hint = r.partly()
		return pam.JobPartial, pam.ErrPartial, message, hint
	case r.job.Committed:
		message, hint = r.unfollowed(err)
		return pam.JobPartial, pam.ErrPartial, message, hint
	case r.job.Generation != 0 && r.job.Outcome != pam.OutcomeRefused:
		return pam.JobOpen, pam.ErrUnknownOutcome, err.Error(), r.thenResume(pam.HintOf(err))
	case errors.Is(err, pam.ErrInterrupted) || errors.Is(err, context.Canceled):
		return pam.JobCancelled, pam.ErrInterrupted, "cancelled; nothing changed", ""
	default:
		return pam.JobFailed, pam.KindOf(err), r.failedMessage(err), pam.HintOf(err)
	}
}
