package job

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// crash is what a killed process looks like from inside the test.
type crash struct{ at int }

// A crasher kills the run at the n-th event: every store call, before and after
// it, and every op.
type crasher struct {
	mu     sync.Mutex
	events int
	at     int // 0: never
}

func (c *crasher) event() {
	c.mu.Lock()
	c.events++
	dead := c.at > 0 && c.events >= c.at // a killed process does nothing more
	n := c.events
	c.mu.Unlock()
	if dead {
		panic(crash{n})
	}
}

// memStore is a Store in memory: what a call wrote is durable when it returns.
type memStore struct {
	crash *crasher

	mu       sync.Mutex
	job      pam.Job
	fence    int64
	cancel   bool
	unlocks  int
	settings pam.RotationSettings
	account  pam.Account
	admin    pam.Login
	machines map[pam.UID]pam.Machine
	mappings []pam.Mapping
	gens     []pam.Generation
	plans    map[pam.UID]pam.RestartPlan
	deployed map[itemKey]pam.Deployment
	now      func() time.Time

	unsettled []pam.Job
}

func (m *memStore) Unsettled(context.Context) ([]pam.Job, error) { return m.unsettled, nil }

func (m *memStore) guard() func() {
	m.crash.event()
	m.mu.Lock()
	return func() {
		m.mu.Unlock()
		m.crash.event()
	}
}

func (m *memStore) Job(context.Context, pam.UID) (pam.Job, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.job, nil
}

func (m *memStore) setItems(items []pam.Item) {
	for _, i := range items {
		found := false
		for n := range m.job.Items {
			if keyOf(m.job.Items[n]) == keyOf(i) {
				m.job.Items[n], found = i, true
			}
		}
		if !found {
			m.job.Items = append(m.job.Items, i)
		}
	}
}

func (m *memStore) Open(_ context.Context, _ pam.UID, p pam.Plan) (int64, error) {
	defer m.guard()()
	m.fence++
	m.job.Fence = m.fence
	m.setItems(p.Items)
	return m.fence, nil
}

func (m *memStore) SetJob(_ context.Context, j pam.Job) error {
	defer m.guard()()
	j.Items, j.Cancel, j.Errand = m.job.Items, m.job.Cancel, m.job.Errand
	if j.State.Terminal() {
		j.Errand = pam.ErrandAll
	}
	// What the barriers wrote is theirs.
	j.Generation, j.Outcome, j.Committed = m.job.Generation, m.job.Outcome, m.job.Committed
	m.job = j
	return nil
}

func (m *memStore) CancelRequested(context.Context, pam.UID) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cancel, nil
}

func (m *memStore) Identify(_ context.Context, _ pam.UID, id pam.Identity) (pam.Account, error) {
	defer m.guard()()
	m.account.Identity, m.account.SID = id.Alias, id.SID
	return m.account, nil
}

func (m *memStore) Stage(_ context.Context, job, account pam.UID, next secret.Value, ev pam.Evidence) (pam.Generation, error) {
	defer m.guard()()
	for n := range m.gens {
		if m.gens[n].Status == pam.Pending {
			m.gens[n].Job = job
			m.job.Generation = m.gens[n].Number
			return m.gens[n], nil
		}
	}
	g := pam.Generation{
		Account: account, Number: len(m.gens) + 1, Status: pam.Pending, Source: pam.SourceRotation,
		Job: job, Evidence: ev, Created: m.now(), Password: next.Clone(),
	}
	m.gens = append(m.gens, g)
	m.job.Generation = g.Number
	return g, nil
}

func (m *memStore) SetOutcome(_ context.Context, _ pam.UID, o pam.Outcome, _ pam.Evidence) error {
	defer m.guard()()
	m.job.Outcome = o
	if o == pam.OutcomeRefused {
		m.move(pam.Pending, pam.Rejected)
	}
	return nil
}

func (m *memStore) Unlocking(context.Context, pam.UID) error {
	defer m.guard()()
	m.unlocks++
	return nil
}

func (m *memStore) move(from, to pam.GenerationStatus) {
	for n := range m.gens {
		if m.gens[n].Status == from {
			m.gens[n].Status = to
		}
	}
}

func (m *memStore) Commit(_ context.Context, _ pam.UID, v pam.Verdict) error {
	defer m.guard()()
	m.move(pam.Current, pam.Previous)
	m.move(pam.Pending, pam.Current)
	m.job.Committed, m.job.Verdict = true, v
	return nil
}

func (m *memStore) SaveRestartPlan(_ context.Context, _ pam.UID, p pam.RestartPlan) error {
	defer m.guard()()
	m.plans[p.Machine] = p
	return nil
}

func (m *memStore) RestartPlans(context.Context, pam.UID) (map[pam.UID]pam.RestartPlan, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.plans), nil
}

func (m *memStore) SaveSteps(_ context.Context, steps []pam.Step) error {
	defer m.guard()()
	for _, s := range steps {
		m.setItems([]pam.Item{s.Item})
		if d := s.Deployment; d != nil {
			m.deployed[keyOf(pam.Item{Machine: d.Machine, Kind: d.Kind, Name: d.Name})] = *d
		}
	}
	return nil
}

func (m *memStore) Deployments(context.Context, pam.UID) ([]pam.Deployment, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []pam.Deployment
	for _, d := range m.deployed {
		all = append(all, d)
	}
	return all, nil
}

func (m *memStore) User(context.Context, pam.UID) (pam.RotationSettings, pam.Account, error) {
	return m.settings, m.account, nil
}

func (m *memStore) Machine(_ context.Context, uid pam.UID) (pam.Machine, error) {
	return m.machines[uid], nil
}

func (m *memStore) Admin(context.Context, pam.UID) (pam.Login, error) { return m.admin, nil }

func (m *memStore) Mappings(context.Context, pam.UID) ([]pam.Mapping, error) { return m.mappings, nil }

func (m *memStore) Generation(_ context.Context, _ pam.UID, status pam.GenerationStatus) (pam.Generation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range slices.Backward(m.gens) {
		if g.Status == status {
			return g, nil
		}
	}
	return pam.Generation{}, pam.Errorf(pam.ErrNotFound, "no %s generation", status)
}

func (m *memStore) HostKeys(context.Context, pam.UID) ([]string, error) { return nil, nil }
