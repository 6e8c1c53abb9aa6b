// Package discover looks at machines outside any job: who runs what there, with
// proposals which user each of it follows, and whether a machine can be worked
// with at all, with the command that helps where it cannot.
//
// It changes nothing on any machine, decides nothing that a person has not
// confirmed, and knows no transport, no store and no command line. Identities
// are compared by what their authorities and machines call them, never by how a
// name is spelled.
package discover

import (
	"context"
	"errors"
	"sync"
	"time"

	"keyturn/pkg/dependency"
	"keyturn/pkg/executor"
	"keyturn/pkg/pam"
)

// A Visitor does harmless ops on machines under one ration of log-ins. It is
// safe for concurrent use; see [keyturn/pkg/job.Visit].
type Visitor interface {
	AtMachine(ctx context.Context, machine pam.UID, request func(executor.Machine) executor.Request) (executor.Result, error)
	Identify(ctx context.Context, user pam.UID) (pam.Identity, error)
}

// A Store knows the records and remembers discoveries. Errors are *pam.Error.
type Store interface {
	// Machine returns a pamMachine record read as a machine.
	Machine(ctx context.Context, machine pam.UID) (pam.Machine, error)
	// Rotations returns the rotation settings of all users.
	Rotations(ctx context.Context) ([]pam.RotationSettings, error)
	// SaveDiscovery saves a discovery; a new one is given its id.
	SaveDiscovery(ctx context.Context, d pam.Discovery) (pam.Discovery, error)
	// SaveFinding saves what a discovery saw on one machine.
	SaveFinding(ctx context.Context, discovery pam.UID, f pam.Finding) error
}

// A Config is what an Engine works with. Every field but Machines is required.
type Config struct {
	Store    Store
	Visitor  Visitor
	Now      func() time.Time
	Machines int // looked at at once; 0 is 256
}

// An Engine discovers and examines. It is safe for concurrent use.
type Engine struct{ cfg Config }

// New returns an Engine.
func New(cfg Config) *Engine {
	if cfg.Machines == 0 {
		cfg.Machines = 256
	}
	return &Engine{cfg}
}

// Run takes a new discovery to its end: it asks the authorities who the users'
// accounts are and every machine what runs there as whom. Each finding is saved,
// and on hears of it, as its machine answers; on is called by one goroutine at a
// time. The returned discovery says how it ended; the error is the first failure
// of a machine, or why the discovery could not be saved.
func (e *Engine) Run(ctx context.Context, d pam.Discovery, machines []pam.UID, on func(pam.Finding)) (pam.Discovery, error) {
	d.State, d.Started, d.Machines = pam.JobRunning, e.cfg.Now(), len(machines)
	d, err := e.cfg.Store.SaveDiscovery(ctx, d)
	if err != nil {
		return d, err
	}
	if d.Users, err = e.identify(ctx, d.Configurations); err == nil {
		d.State, err = e.lookAt(ctx, d.ID, machines, on)
	} else {
		d.State = pam.JobFailed
	}
	if ctx.Err() != nil {
		d.State = pam.JobCancelled
	}
	d.Finished = e.cfg.Now()
	if _, serr := e.cfg.Store.SaveDiscovery(context.WithoutCancel(ctx), d); serr != nil {
		return d, serr
	}
	return d, err
}

// identify asks who the accounts of all rotated users of the configurations are.
// What cannot be told is noted: it is no reason to look at nothing.
func (e *Engine) identify(ctx context.Context, configurations []pam.UID) ([]pam.IdentifiedUser, error) {
	settings, err := e.cfg.Store.Rotations(ctx)
	if err != nil {
		return nil, err
	}
	own := map[pam.UID]bool{}
	for _, c := range configurations {
		own[c] = true
	}
	users := []pam.IdentifiedUser{}
	for _, s := range settings {
		if own[s.Configuration] {
			users = append(users, pam.IdentifiedUser{User: s.User})
		}
	}
	each(e.cfg.Machines, len(users), func(i int) {
		id, err := e.cfg.Visitor.Identify(ctx, users[i].User)
		if users[i].Identity = id; err != nil {
			users[i].Problem = err.Error()
		}
	})
	return users, ctx.Err()
}

// lookAt looks at all machines at once, within the limit.
func (e *Engine) lookAt(ctx context.Context, id pam.UID, machines []pam.UID, on func(pam.Finding)) (pam.JobState, error) {
	var mu sync.Mutex
	var failed, unsaved error
	failures := 0
	each(e.cfg.Machines, len(machines), func(i int) {
		f, err := e.look(ctx, id, machines[i])
		if ctx.Err() != nil {
			return
		}
		serr := e.cfg.Store.SaveFinding(ctx, id, f)
		mu.Lock()
		defer mu.Unlock()
		unsaved = errors.Join(unsaved, serr)
		if err != nil {
			failures++
			if failed == nil {
				failed = err
			}
		}
		on(f)
	})
	switch {
	case ctx.Err() != nil:
		return pam.JobCancelled, ctx.Err()
	case unsaved != nil:
		return pam.JobFailed, unsaved
	case failures == len(machines) && failures > 0:
		return pam.JobFailed, failed
	case failures > 0:
		return pam.JobPartial, failed
	}
	return pam.JobFinished, nil
}

// kinds are all that can store a password on a machine.
func kinds() []pam.DependencyKind { return pam.MapAll.Dependencies() }

// look sees one machine. The finding says what was seen, or how it failed.
func (e *Engine) look(ctx context.Context, id, machine pam.UID) (pam.Finding, error) {
	m, err := e.cfg.Store.Machine(ctx, machine)
	f := pam.Finding{Machine: machine, Title: m.Title, Items: []pam.FoundItem{}}
	if err == nil && !m.IsWindows() {
		err = pam.Errorf(pam.ErrInvalidInput, "The operating system is not Windows. PAM can only rotate the services and scheduled task "+
			"password on Windows: machine %q (%s)", m.Title, m.UID)
	}
	var res executor.Result
	if err == nil {
		res, err = e.cfg.Visitor.AtMachine(ctx, machine, func(at executor.Machine) executor.Request {
			return executor.Look{Machine: at, Look: dependency.LookRequest{Run: id, Everyone: true, Kinds: kinds()}}
		})
	}
	f.Seen = e.cfg.Now()
	if err != nil {
		f.Failure, f.Message, f.Hint = pam.KindOf(err), err.Error(), pam.HintOf(err)
		return f, err
	}
	inv := res.Inventory
	f.MachineID, f.Admin, f.Warnings = inv.MachineID, inv.User, inv.Warnings
	for _, i := range inv.Items {
		found := pam.FoundItem{Kind: i.Kind, Name: i.Name, RunAs: i.RunAs, State: i.State, Skip: i.Skip}
		if i.Owner != nil { // an item that could not be read has none
			found.Owner = *i.Owner
		}
		f.Items = append(f.Items, found)
	}
	return f, nil
}

// each calls do for 0 to n-1, at most limit at once, and waits for all.
func each(limit, n int, do func(i int)) {
	room := make(chan struct{}, limit)
	var wg sync.WaitGroup
	for i := range n {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			do(i)
		})
	}
	wg.Wait()
}
