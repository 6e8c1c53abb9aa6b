package commands

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/vault"
)

const (
	pollEvery = 150 * time.Millisecond
	// pollFailures is how often in a row a job may not be read while it is waited
	// for: the disk may be full for a moment, and the job goes on all the same.
	pollFailures = 20
)

// Poll reads a job until it has ended or gone is closed, and calls on whenever
// what it read may be news. It returns the job as last read.
func Poll(ctx context.Context, v *vault.Vault, id pam.UID, gone <-chan struct{}, on func(pam.Job)) (pam.Job, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var known pam.Job
	for last, failures := false, 0; ; {
		j, err := v.Job(ctx, id)
		switch {
		case err == nil:
			known, failures = j, 0
			on(j)
			if j.State.Terminal() || last {
				return j, nil
			}
		case failures >= pollFailures || ctx.Err() != nil:
			return known, unread(known, id, err)
		default:
			failures++
		}
		select {
		case <-ctx.Done():
			return known, ctx.Err()
		case <-gone: // read once more: the process may have saved its end right before
			last = true
			<-tick.C
		case <-tick.C:
		}
	}
}

// unread is a job that is waited for and cannot be read any more. What is known
// of it decides whether anything may have changed.
func unread(known pam.Job, id pam.UID, err error) error {
	kind := pam.KindOf(err)
	if changing(known) {
		kind = pam.ErrPartial
	}
	return pam.Errorf(kind, "job %s goes on and cannot be watched: %s", id, message(err)).
		WithHint("keyturn pam action job-info %s --wait", id)
}

// runJob starts a saved job's process and waits for the job. While it waits,
// an interrupt asks the job to stop, and a second one ends the waiting.
func (c *call) runJob(ctx context.Context, j pam.Job) (pam.Job, error) {
	wait, err := c.StartJob(ctx, j)
	if err != nil {
		return j, err
	}
	p := c.newProgress(j)
	// Waiting goes on after an interrupt: how the job ends is still news.
	waiting, leave := context.WithCancel(context.WithoutCancel(ctx))
	defer leave()
	if c.Interrupts != nil {
		heard, ignore := c.Interrupts()
		defer ignore()
		go leaveAtSecond(ctx, heard, leave, waiting.Done())
	}
	stop := context.AfterFunc(ctx, func() { c.requestCancel(context.WithoutCancel(ctx), j.ID) })
	defer stop()
	known, err := wait(waiting, p.show)
	if waiting.Err() != nil {
		return c.left(context.WithoutCancel(ctx), j.ID)
	}
	return known, err
}

// leaveAtSecond calls leave at the second interrupt; ctx has ended if there was
// one before heard. It returns once left is closed.
func leaveAtSecond(ctx context.Context, heard <-chan os.Signal, leave func(), left <-chan struct{}) {
	n := 2
	if ctx.Err() != nil {
		n = 1
	}
	for ; n > 0; n-- {
		select {
		case <-heard:
		case <-left:
			return
		}
	}
	leave()
}

// watched waits for a job that another command started.
func (c *call) watched(ctx context.Context, j pam.Job) (pam.Job, error) {
	if j.State == pam.JobOpen || j.State.Terminal() {
		return j, nil
	}
	last, err := Poll(ctx, c.vault, j.ID, nil, c.newProgress(pam.Job{}).show)
	if ctx.Err() != nil {
		return c.left(context.WithoutCancel(ctx), j.ID)
	}
	return last, err
}

// left reads a job that nobody waits for any more. If it has not ended the error
// says that it goes on, and what can be done about it.
func (c *call) left(ctx context.Context, id pam.UID) (pam.Job, error) {
	j, err := c.vault.Job(ctx, id)
	switch {
	case err == nil && j.State.Terminal():
		return j, nil
	case err != nil || changing(j):
		return j, pam.Errorf(pam.ErrPartial, "not waited for any more, job %s goes on in its own process: %s", id, standing(j)).
			WithHint("keyturn pam action job-info %s --wait shows its end, and what is left to do then", id)
	case j.Cancel:
		return j, pam.Errorf(pam.ErrInterrupted, "not waited for any more, job %s ends in its own process: it was asked to stop", id).
			WithHint("keyturn pam action job-info %s --wait", id)
	}
	return j, pam.Errorf(pam.ErrInterrupted, "not waited for any more, job %s goes on in its own process", id).
		WithHint("keyturn pam action job-info %s --wait shows its end; keyturn pam action job-cancel %s stops it", id, id)
}

// requestCancel asks a job to stop, and says what that means at this point.
func (c *call) requestCancel(ctx context.Context, id pam.UID) {
	j, err := c.vault.Job(ctx, id)
	late := err == nil && changing(j)
	if err == nil && !late {
		err = c.vault.RequestCancel(ctx, id)
	}
	switch {
	case c.format != output.FormatTable: // standard error is for programs
	case late:
		c.sayf("job %s cannot be stopped any more: %s; waiting for its end, and interrupt again to leave it alone with its own process",
			id, standing(j))
	case err != nil:
		c.sayf("keyturn: job %s could not be asked to stop: %s", id, message(err))
	default:
		c.sayf("asking job %s to stop; interrupt again to leave it alone with its own process", id)
	}
}

// changing reports whether a job is past the point where it can be stopped: a new
// password is, or may be, where it is decided. One that was taken up again is from its
// beginning.
func changing(j pam.Job) bool {
	return j.Phase != "" && j.Phase != pam.PhaseLook || j.Generation != 0 && j.Outcome != pam.OutcomeRefused
}

// standing says of a job that cannot be stopped any more what has changed, and what
// it is doing.
func standing(j pam.Job) string {
	if !j.Committed {
		return "the new password may be set already"
	}
	doing := map[pam.Phase]string{
		pam.PhaseLook: "the machines are being looked at", pam.PhaseUpdate: "what stores it is being updated",
		pam.PhaseRestart: "what was running is being restarted", pam.PhaseRepair: "what was left stopped is being started",
	}[j.Phase]
	if doing == "" {
		return "the password is changed"
	}
	return "the password is changed, and " + doing
}

// newProgress begins with what was done to a job before, which is no news.
func (c *call) newProgress(j pam.Job) *progress {
	p := &progress{d: c.Deps, quiet: c.format != output.FormatTable, items: map[itemKey]itemState{}}
	if !j.Started.IsZero() && j.State != pam.JobQueued { // a queued one begins anew
		p.phase = j.Phase
	}
	for _, i := range j.Items {
		p.items[itemKey{i.Machine, i.Kind, i.Name}] = itemState{i.Phase, i.Status}
	}
	return p
}

// A progress says on standard error what a job does: one line for each step
// that ends. It is quiet where standard error is for programs: with --format
// json a failure there is a document.
type progress struct {
	d     *Deps
	quiet bool
	phase pam.Phase
	items map[itemKey]itemState
}

type itemKey struct {
	machine pam.UID
	kind    pam.DependencyKind
	name    string
}

type itemState struct {
	phase  pam.Phase
	status pam.Status
}

func (p *progress) show(j pam.Job) {
	if p.quiet {
		return
	}
	if j.Phase != p.phase && !j.State.Terminal() {
		// What ended before the phase is told before it.
		p.steps(j.Items, func(i pam.Item) bool { return i.Phase != j.Phase })
		p.phase = j.Phase
		p.d.sayf("%s: %s", j.AccountName, phaseText(j.Phase))
	}
	p.steps(j.Items, func(pam.Item) bool { return true })
}

// steps tells of those of the items that reached a new end.
func (p *progress) steps(items []pam.Item, which func(pam.Item) bool) {
	for _, i := range items {
		key, now := itemKey{i.Machine, i.Kind, i.Name}, itemState{i.Phase, i.Status}
		if underWay(i) || p.items[key] == now || !which(i) {
			continue
		}
		p.items[key] = now
		p.d.sayf("%s", stepText(i))
	}
}

// underWay reports whether nothing is known of an item's present phase yet.
func underWay(i pam.Item) bool {
	return i.Status == "" || i.Status == pam.StatusPending || (i.Status == pam.StatusUnknown && i.Error == nil)
}

func phaseText(p pam.Phase) string {
	switch p {
	case pam.PhaseLook:
		return "looking at the authority and the machines"
	case pam.PhaseChange:
		return "changing the password"
	case pam.PhaseUpdate:
		return "updating stored passwords"
	case pam.PhaseRestart:
		return "restarting what was running"
	case pam.PhaseRepair:
		return "starting what was left stopped"
	default:
		return string(p)
	}
}

func stepText(i pam.Item) string {
	text := i.MachineTitle + ": " + i.Kind.Label()
	if i.Kind != pam.KindMachine {
		text += " " + i.Name
	}
	text += ": "
	if i.Phase != pam.PhaseLook { // nobody did anything yet
		text += string(i.Phase) + " "
	}
	text += string(i.Status)
	if d := detail(i); d != "" && i.Status != pam.StatusOK {
		text += " (" + d + ")"
	}
	return text
}

// Unfinished is why a job whose process failed is not at its end.
func Unfinished(j pam.Job, why error) error {
	if errors.Is(why, pam.ErrUnknownOutcome) { // it says itself what is known of the password
		return pam.Errorf(pam.ErrUnknownOutcome, "%s; job %s is open", message(why), j.ID).
			WithHint("keyturn pam action resume %s", j.ID)
	}
	kind, state := pam.KindOf(why), "nothing changed"
	if changing(j) {
		kind, state = pam.ErrPartial, "the password may have changed already"
	}
	err := pam.Errorf(kind, "the process of job %s failed: %s; %s", j.ID, message(why), state)
	if hint := pam.HintOf(why); hint != "" {
		return err.WithHint("%s; then: keyturn pam action resume %s", hint, j.ID)
	}
	return err.WithHint("keyturn pam action resume %s", j.ID)
}

// Ending says in lines how a job ended that was waited for, or that its process did
// before, and what to do next.
func Ending(j pam.Job, err error) string {
	if err == nil && !j.State.Terminal() {
		err = ended(j)
	}
	text, next := fmt.Sprintf("job %s %s: %s", j.ID, j.State, messageOf(j)), hintOf(j)
	if err != nil {
		text, next = message(err), pam.HintOf(err)
	}
	switch n := len(j.Warnings); {
	case n == 1:
		text += "\nwarning: " + j.Warnings[0]
	case n > 1:
		text += fmt.Sprintf("\n%d warnings: keyturn pam action job-info %s shows them", n, j.ID)
	}
	if next != "" {
		text += "\nNext: " + next
	}
	return text
}

// ended turns how a job ended into the command's error: nil for success. A job
// that is not at its end has lost its process.
func ended(j pam.Job) error {
	switch {
	case j.State == pam.JobFinished && j.Failure == "":
		return nil
	case j.State == pam.JobCancelled:
		return pam.Errorf(pam.ErrInterrupted, "job %s was cancelled; nothing changed", j.ID)
	case j.State.Terminal() || j.Failure != "":
		return failed(j)
	}
	kind, state := pam.ErrIO, "nothing changed"
	if changing(j) {
		kind, state = pam.ErrPartial, "the password may have changed already"
	}
	return pam.Errorf(kind, "the process of job %s ended before the job did: the job is open, %s", j.ID, state).
		WithHint("keyturn pam action resume %s ends it", j.ID)
}

func failed(j pam.Job) error {
	kind := j.Failure
	if kind == "" {
		kind = pam.ErrInvalidInput
		if j.State == pam.JobPartial {
			kind = pam.ErrPartial
		}
	}
	text := j.Message
	if text == "" {
		text = "job " + string(j.ID) + " is " + string(j.State)
	}
	err := pam.Errorf(kind, "%s", text)
	if j.Hint != "" {
		return err.WithHint("%s", j.Hint)
	}
	return err
}

// findJob returns a job that somebody named by its id.
func (c *call) findJob(ctx context.Context, id string) (pam.Job, error) {
	if !pam.IsUID(id) {
		return pam.Job{}, pam.Errorf(pam.ErrNotFound, "there is no job %q", id).
			WithHint(`"keyturn pam action job-list" shows the jobs`)
	}
	j, err := c.vault.Job(ctx, pam.UID(id))
	if errors.Is(err, pam.ErrNotFound) {
		return j, pam.Errorf(pam.ErrNotFound, "there is no job %s", id).
			WithHint(`"keyturn pam action job-list" shows the jobs`)
	}
	if err != nil {
		return j, err
	}
	return j, c.markOpen(ctx, &j)
}

// markOpen gives a job whose process is gone the state that lists show.
func (c *call) markOpen(ctx context.Context, j *pam.Job) error {
	if j.State.Terminal() {
		return nil
	}
	all, err := c.vault.Jobs(ctx)
	for _, other := range all {
		if other.ID == j.ID {
			j.State = other.State
		}
	}
	return err
}
