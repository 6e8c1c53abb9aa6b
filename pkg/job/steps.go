package job

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"keyturn/pkg/dependency"
	"keyturn/pkg/pam"
)

// An itemKey names an item within its job. Windows compares names without case.
type itemKey struct {
	machine pam.UID
	kind    pam.DependencyKind
	name    string
}

func keyOf(i pam.Item) itemKey { return itemKey{i.Machine, i.Kind, strings.ToLower(i.Name)} }

// steps is the job's list of items and the way each change of one is saved. It
// is safe for concurrent use: machines are worked on in parallel.
type steps struct {
	store Store
	now   func() time.Time
	job   pam.UID

	mu    sync.Mutex
	items map[itemKey]pam.Item
	fresh map[itemKey]bool // something happened to it in this run
	errs  []error
}

// put makes i the state of its item and saves it; d moves with it.
func (s *steps) put(ctx context.Context, i pam.Item, d *pam.Deployment) {
	s.mu.Lock()
	s.items[keyOf(i)], s.fresh[keyOf(i)] = i, true
	s.mu.Unlock()
	err := s.store.SaveSteps(ctx, []pam.Step{{Job: s.job, At: s.now(), Item: i, Deployment: d}})
	if err != nil {
		s.mu.Lock()
		s.errs = append(s.errs, err)
		s.mu.Unlock()
	}
}

// plan takes over the items of a plan; what a former run of the job already did
// to an item is kept.
func (s *steps) plan(items []pam.Item) []pam.Item {
	s.mu.Lock()
	defer s.mu.Unlock()
	merged := make([]pam.Item, 0, len(items))
	for _, i := range items {
		if old, ok := s.items[keyOf(i)]; ok && s.done(old) {
			old.Action, old.Reason = i.Action, cmp.Or(i.Reason, old.Reason)
			i = old
		} else if ok && mayBeUpdated(old) {
			i.Workers = old.Workers
		}
		s.items[keyOf(i)] = i
		merged = append(merged, i)
	}
	return merged
}

// done reports whether an item of a former run has a past worth keeping.
func (*steps) done(i pam.Item) bool {
	return i.Kind == pam.KindAccount || i.Updated || i.Phase == pam.PhaseRestart || i.Phase == pam.PhaseRepair
}

func (s *steps) get(k itemKey) (pam.Item, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.items[k]
	return i, ok
}

// of returns the items of one machine.
func (s *steps) of(machine pam.UID) []pam.Item {
	s.mu.Lock()
	defer s.mu.Unlock()
	var own []pam.Item
	for _, i := range s.items {
		if i.Machine == machine && i.Kind != pam.KindAccount && i.Kind != pam.KindMachine {
			own = append(own, i)
		}
	}
	slices.SortFunc(own, compareItems)
	return own
}

// all returns every item in the order people see them.
func (s *steps) all() []pam.Item {
	s.mu.Lock()
	defer s.mu.Unlock()
	items := make([]pam.Item, 0, len(s.items))
	for _, i := range s.items {
		items = append(items, i)
	}
	slices.SortFunc(items, compareItems)
	return items
}

// compareItems puts the account first, then sorts by machine, kind and name.
func compareItems(a, b pam.Item) int {
	account := func(i pam.Item) int {
		if i.Kind == pam.KindAccount {
			return 0
		}
		return 1
	}
	return cmp.Or(account(a)-account(b), strings.Compare(strings.ToLower(a.MachineTitle), strings.ToLower(b.MachineTitle)),
		strings.Compare(string(a.Machine), string(b.Machine)), pam.KindRank(a.Kind)-pam.KindRank(b.Kind), strings.Compare(a.Name, b.Name))
}

// failed counts the dependencies of the job, and those whose update or restart
// failed in this run.
func (s *steps) failed() (items, updates, restarts int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, i := range s.items {
		if i.Kind == pam.KindAccount || i.Kind == pam.KindMachine {
			continue
		}
		items++
		if bad := i.Status == pam.StatusFailed || i.Status == pam.StatusTimeout; !bad || !s.fresh[key] {
			continue
		}
		if i.Phase == pam.PhaseUpdate {
			updates++
		} else {
			restarts++
		}
	}
	return items, updates, restarts
}

// left reports whether any item still needs something.
func (s *steps) left() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.items {
		if !i.Status.Done() {
			return true
		}
	}
	return false
}

// failure is what went wrong with saving steps: the job's own account of itself
// is incomplete then, and it must not be called finished.
func (s *steps) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.errs...)
}

// apply folds one result of a machine into the item it is about.
func apply(i pam.Item, res dependency.ItemResult) pam.Item {
	i.Phase, i.Status, i.Error, i.Took = res.Phase, res.Status, res.Error, i.Took+res.Took
	if res.Reason != "" {
		i.Reason = res.Reason
	}
	if i.Before == (pam.Snapshot{}) {
		i.Before = res.Before
	}
	if res.After != (pam.Snapshot{}) {
		i.After = res.After
	}
	return i
}
