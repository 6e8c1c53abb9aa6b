package job

import (
	"context"
	"sync"

	"keyturn/pkg/pam"
)

// A verdict on one permitted log-on.
type logon int

const (
	logonNeutral logon = iota // never got as far as a log-on
	logonAccepted
	logonRefused
	logonUnknown // sent, and no answer: it counts as refused
)

// How many refusals close a credential that was accepted somewhere before: one
// may be a replica that lags, two are not.
const refusalsOfProven = 2

// A ration hands out permits for log-ons that can fail, so that a stale
// password costs one failed log-on and not one a machine. It is safe for
// concurrent use.
type ration struct {
	mu    sync.Mutex
	gates map[string]*gate
}

// A gate is the ration of one credential: one permit at a time until a log-on
// succeeded, then as many as are asked for; closed after too many refusals.
//
// A budget, when there is one, bounds what may go wrong at the same time: as many
// log-ons as are under way may all be refused by replicas that lag behind.
type gate struct {
	proven   bool // accepted once: permits widen
	trusted  bool // accepted at its authority: one refusal is not the end
	refusals int
	budget   *int   // failed log-ons that the account can bear; nil is any number
	spent    int    // of the budget
	where    string // of the refusal that closed it
	flying   int
	changed  chan struct{} // closed and replaced when a permit comes back
}

func newRation() *ration { return &ration{gates: map[string]*gate{}} }

// trust notes that the credential was accepted at its authority.
func (r *ration) trust(credential string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gate(credential).trusted = true
}

// shut reports whether the credential was refused too often to be tried again.
func (r *ration) shut(credential string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gate(credential).closed()
}

func (r *ration) gate(credential string) *gate {
	g := r.gates[credential]
	if g == nil {
		g = &gate{changed: make(chan struct{})}
		r.gates[credential] = g
	}
	return g
}

func (g *gate) closed() bool {
	most := 1
	if g.proven || g.trusted {
		most = refusalsOfProven
	}
	if g.budget != nil && g.spent >= max(1, *g.budget) {
		return true
	}
	return g.refusals >= most
}

// room reports whether one more log-on may be under way: the first alone, and
// then as many as the budget bears.
func (g *gate) room() bool {
	switch {
	case g.flying == 0:
		return true
	case !g.proven:
		return false
	}
	return g.budget == nil || g.flying < *g.budget-g.spent
}

// limit gives a credential a budget of failed log-ons. Even with none, one log-on
// is tried: what was accepted at its authority is most likely right.
func (r *ration) limit(credential string, budget int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gate(credential).budget = &budget
}

// permit waits for leave to log on with credential at a place named for people.
// The caller gives it back by calling done, once, with what became of the
// log-on. A closed credential is an error that says where it was refused.
func (r *ration) permit(ctx context.Context, credential, title, place string) (done func(logon), err error) {
	for {
		r.mu.Lock()
		g := r.gate(credential)
		switch {
		case g.closed():
			where := g.where
			r.mu.Unlock()
			return nil, pam.Errorf(pam.ErrAuthFailed, "not tried: %s was refused at %s, and one failed log-on is enough",
				title, where)
		case g.room():
			g.flying++
			r.mu.Unlock()
			var once sync.Once
			return func(l logon) { once.Do(func() { r.giveBack(credential, place, l) }) }, nil
		}
		wait := g.changed
		r.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (r *ration) giveBack(credential, place string, l logon) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.gate(credential)
	g.flying--
	switch l {
	case logonAccepted:
		g.proven = true
	case logonRefused:
		g.refusals++
		g.spent++
		g.where = place
	case logonUnknown:
		g.spent++
		g.where = place
	case logonNeutral:
	}
	close(g.changed)
	g.changed = make(chan struct{})
}
