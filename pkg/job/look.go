package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"keyturn/pkg/dependency"
	"keyturn/pkg/executor"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/rotator"
)

// An authority is the machine that decides the account's password.
type authority struct {
	machine  pam.Machine
	admin    pam.Login
	endpoint remote.Endpoint
	findings rotator.Findings
}

// A site is one mapped machine within a job. One goroutine works on it at a time.
type site struct {
	machine   pam.Machine
	admin     pam.Login
	endpoint  remote.Endpoint
	kinds     []pam.DependencyKind
	inventory dependency.Inventory // the newest look
	workers   map[string][]int     // pool workers before the update
	sent      map[string]bool      // pools that a former run may have sent the password
	told      []string             // what the machine said of its update
	skipped   pam.Kind             // why it is left for a later job; "" when it takes part
	missed    error                // the failure behind skipped, for people
	twin      *site                // the site of another record of the same machine, which does the work
}

// works reports whether the job touches the machine.
func (s *site) works() bool { return s.skipped == "" && s.twin == nil }

// look finds everything the job is about and what runs now. It changes nothing
// at any target. Its failures end the job: nothing changed.
func (r *run) look(ctx context.Context) error {
	if err := r.readRecords(ctx); err != nil {
		return err
	}
	if err := r.findEarlier(ctx); err != nil {
		return err
	}
	if err := r.goesBack(ctx); err != nil {
		return err
	}
	if err := r.checkAuthority(ctx); err != nil {
		return err
	}
	if err := r.lookAtMachines(ctx); err != nil {
		return r.orResume(err)
	}
	r.joinTwins()
	if err := r.fitsTasks(); err != nil {
		return err
	}
	r.makePlan()
	return nil
}

// longestForTasks is how many characters of a password scheduled tasks are sure
// to take: with more, services and pools may log on and tasks not.
const longestForTasks = 127

// fitsTasks refuses a password that is longer than the account's tasks take.
func (r *run) fitsTasks() error {
	length, hint := r.length, "keyturn record-history list "+string(r.job.User)
	if r.job.Options.To == "" {
		rules, err := r.rules()
		if err != nil && r.job.Generation == 0 {
			return pam.Errorf(pam.ErrPolicy, "no password is made by the rules of %s: %w", r.account.Name, err).
				WithHint("keyturn pam rotation edit -r %s -x 24,2,2,2,2 --force", r.job.User)
		}
		length, hint = rules.Length, fmt.Sprintf("keyturn pam rotation edit -r %s -x 64,4,4,4,4 --force", r.job.User)
	}
	if length <= longestForTasks || r.job.Generation != 0 {
		return nil
	}
	for _, s := range r.working() {
		for _, i := range s.targets() {
			if i.Kind == pam.KindTask {
				return pam.Errorf(pam.ErrPolicy,
					"a password of %d characters is too long for the scheduled task %s on %q: it takes %d; nothing changed",
					length, i.Name, s.machine.Title, longestForTasks).WithHint("%s", hint)
			}
		}
	}
	return nil
}

func (r *run) readRecords(ctx context.Context) error {
	var err error
	if r.settings, r.account, err = r.cfg.Store.User(ctx, r.job.User); err != nil {
		return err
	}
	if r.policy, r.window, err = policyOf(r.settings, r.job.Options); err != nil {
		return err
	}
	if !r.settings.Enabled && r.job.Generation == 0 { // what has begun is ended
		return pam.Errorf(pam.ErrInvalidInput, "Rotation is disabled for record %s (%s)", r.job.UserTitle, r.job.User).
			WithHint("keyturn pam rotation edit -r %s --enable --force", r.job.User)
	}
	a := &r.authority
	if a.machine, a.admin, a.endpoint, err = r.reach(ctx, r.settings.Resource); err != nil {
		return err
	}
	mappings, err := r.cfg.Store.Mappings(ctx, r.job.User)
	if err != nil {
		return err
	}
	r.sites, r.disabled = nil, nil
	for _, m := range mappings {
		if !r.concerned(m.Machine) {
			continue
		}
		s := &site{kinds: m.Kinds.Dependencies()}
		if m.Disabled {
			s.machine = r.titleOf(ctx, m.Machine)
			r.disabled = append(r.disabled, s)
			continue
		}
		if s.machine, s.admin, s.endpoint, err = r.reach(ctx, m.Machine); err != nil {
			return err
		}
		if !s.machine.IsWindows() {
			return pam.Errorf(pam.ErrInvalidInput, "The operating system is not Windows. PAM can only rotate the services and "+
				"scheduled task password on Windows: machine %q (%s)", s.machine.Title, s.machine.UID)
		}
		r.sites = append(r.sites, s)
	}
	slices.SortFunc(r.sites, compareSites)
	slices.SortFunc(r.disabled, compareSites)
	return nil
}

func compareSites(a, b *site) int {
	return cmp.Or(strings.Compare(strings.ToLower(a.machine.Title), strings.ToLower(b.machine.Title)),
		strings.Compare(string(a.machine.UID), string(b.machine.UID)))
}

// titleOf names a machine that takes no part. A record that could not be used to
// connect is no reason to fail: nobody connects.
func (r *run) titleOf(ctx context.Context, uid pam.UID) pam.Machine {
	if m, _ := r.cfg.Store.Machine(ctx, uid); m.UID != "" {
		return m
	}
	return pam.Machine{UID: uid, Title: string(uid)}
}

// reach reads how to reach a machine and who logs in there.
func (r *run) reach(ctx context.Context, uid pam.UID) (m pam.Machine, admin pam.Login, at remote.Endpoint, err error) {
	if m, err = r.cfg.Store.Machine(ctx, uid); err != nil {
		return m, admin, at, err
	}
	if admin, err = r.cfg.Store.Admin(ctx, uid); err != nil {
		return m, admin, at, err
	}
	if strings.EqualFold(admin.User, r.account.Name) {
		return m, admin, at, pam.Errorf(pam.ErrPolicy,
			"%s is the account that logs in to %s %q (%s): a job does not change the password it works with; "+
				"nothing changed", admin.User, m.Noun(), m.Title, m.UID).
			WithHint("give it another admin: keyturn pam rotation edit -rs %s -a ADMIN --force", m.UID)
	}
	at = remote.Endpoint{Transport: m.Transport, Host: m.Host, Port: m.Port, Pin: m.ServerPin}
	if m.Transport == pam.SSH {
		at.HostKeys, err = r.cfg.Store.HostKeys(ctx, uid)
		return m, admin, at, err
	}
	if m.CAFile != "" && m.ServerPin == "" {
		if at.CAPEM, err = r.cfg.ReadFile(m.CAFile); err != nil {
			return m, admin, at, pam.Errorf(pam.ErrInvalidInput, "%s %q (%s): read its CA file: %w", m.Noun(), m.Title, m.UID, err).
				WithHint("keyturn record-update -r %s c.text.caFile=FILE", m.UID)
		}
	}
	return m, admin, at, nil
}

func (r *run) checkAuthority(ctx context.Context) error {
	if r.job.Committed { // nothing is asked of it any more, and it may be down
		r.authority.findings.Identity = pam.Identity{Alias: r.account.Identity, SID: r.account.SID, Name: r.account.Name}
		return nil
	}
	res, err := r.harmless(ctx, breaksAuthority, func() (executor.Result, error) {
		return r.atAuthority(ctx, func(a executor.Authority) executor.Request { return executor.Check{Authority: a} })
	})
	if err != nil {
		return err
	}
	r.authority.findings = res.Findings
	if res.Findings.SelfRotation {
		return pam.Errorf(pam.ErrPolicy, "%s is the account that logs in to %q: a job does not change the password it works with",
			r.account.Name, r.authority.machine.Title).
			WithHint("give the machine another admin: keyturn pam rotation edit -rs %s -a ADMIN --force", r.settings.Resource)
	}
	if err := r.mayBeLocked(); err != nil {
		return err
	}
	if !r.dry {
		if err := r.identify(ctx, res.Findings.Identity); err != nil {
			return err
		}
	} else if r.account.SID == "" {
		r.account.SID = res.Findings.Identity.SID
	}
	if err := r.knowsCurrent(ctx); err != nil {
		return err
	}
	res, err = r.harmless(ctx, breaksAuthority, func() (executor.Result, error) {
		return r.atAuthority(ctx, func(a executor.Authority) executor.Request { return executor.ReadEvidence{Authority: a} })
	})
	r.evidence = res.Evidence
	return err
}

// identify tells the store who the account is. When two records turn out to
// name one account, the job goes on with the one that survives, and holds its
// lock as well.
func (r *run) identify(ctx context.Context, id pam.Identity) error {
	account, err := r.cfg.Store.Identify(ctx, r.account.UID, id)
	if err != nil {
		return err
	}
	if account.UID != r.account.UID {
		release, err := r.cfg.Lock(ctx, account.UID)
		if err != nil {
			return err
		}
		r.release = append(r.release, release)
		r.plan.Warnings = append(r.plan.Warnings, "another record names this account too: they share its password from now on")
		r.job.Account = account.UID
	}
	r.account = account
	return nil
}

// lookAtMachines takes the inventory of every site at once. A machine that
// cannot be reached ends the job, unless it may be skipped; one that refuses us
// or cannot be trusted always does.
func (r *run) lookAtMachines(ctx context.Context) error {
	var (
		mu     sync.Mutex
		unseen []missed
	)
	r.each(ctx, r.sites, func(ctx context.Context, s *site) {
		if err := r.lookAt(ctx, s); err != nil {
			mu.Lock()
			defer mu.Unlock()
			unseen = append(unseen, missed{s, err})
		}
	})
	if err := ctx.Err(); err != nil {
		return err
	}
	return r.skip(unseen)
}

// A missed is a site that could not be looked at, and why.
type missed struct {
	site *site
	err  error
}

// skip leaves the machines that the job may go on without for a later one: those
// that are down, up to the number that the policy allows, or any when a password
// is staged already and there is no way back.
func (r *run) skip(unseen []missed) error {
	var errs []error
	var down []missed
	for _, m := range unseen {
		if errors.Is(m.err, pam.ErrUnreachable) || r.job.Generation != 0 {
			down = append(down, m)
			continue
		}
		errs = append(errs, describe(m.site.machine, m.site.admin, m.err))
	}
	most := r.maySkip()
	for _, m := range down {
		m.site.miss(m.err)
		if len(down) > most {
			errs = append(errs, describe(m.site.machine, m.site.admin, m.err))
		}
	}
	err := r.joined(sortedErrors(errs))
	switch all := len(r.sites); {
	case most > 0 && len(down) > most:
		return pam.Errorf(pam.KindOf(err), "%d machines cannot be reached, and %d may be left for later: %w", len(down), most, err)
	case err != nil:
		return err
	case len(down) == all && all > 0 && r.job.Generation == 0:
		return pam.Errorf(pam.ErrUnreachable, "none of the %d mapped machines can be reached", len(down)).
			WithHint("check the network; a password that no machine can be given is not changed")
	}
	return nil
}

// miss leaves a machine for later. That such can be skipped is no news then.
func (s *site) miss(err error) {
	s.skipped, s.missed = pam.KindOf(err), describe(s.machine, s.admin, err)
	if e, ok := errors.AsType[*pam.Error](s.missed); ok && e.Kind == pam.ErrUnreachable && remote.UnknownName(err) == "" {
		s.missed = e.WithHint("check that it is up and that %s answers", s.machine.Address())
	}
}

// maySkip is how many machines that do not answer the job may leave for later.
func (r *run) maySkip() int {
	if r.job.Options.SkipUnreachable || r.job.Generation != 0 {
		return len(r.sites)
	}
	n, _ := r.policy.SkipUnreachable.Of(len(r.sites))
	return n
}

func (r *run) lookAt(ctx context.Context, s *site) error {
	res, err := r.harmless(ctx, breaksMachine, func() (executor.Result, error) {
		return r.atMachine(ctx, s, executor.Look{Look: dependency.LookRequest{
			Run: r.job.ID, Subject: r.subject(s), Kinds: s.kinds,
		}}, nil, nil)
	})
	if err != nil {
		return err
	}
	s.inventory = res.Inventory
	s.workers, s.sent = map[string][]int{}, map[string]bool{}
	for _, i := range res.Inventory.Items {
		if i.Kind == pam.KindPool {
			s.workers[i.Name], s.sent[i.Name] = r.workersBefore(s, i)
		}
	}
	return nil
}

// workersBefore are a pool's workers from before its update. Those of now may
// have come with it: a former run of the job noted what was there, and a pool
// that has new workers already must not be recycled once more.
func (r *run) workersBefore(s *site, pool dependency.Item) (workers []int, sent bool) {
	if old, ok := r.steps.get(s.key(pam.KindPool, pool.Name)); ok && mayBeUpdated(old) {
		return old.Workers, true
	}
	return pool.Workers, false
}

// mayBeUpdated reports whether a former run sent an item its update.
func mayBeUpdated(i pam.Item) bool {
	return i.Updated || i.Status == pam.StatusUnknown
}

// subject is the account as a machine is asked about it. Once the machine has
// said how it spells the account, that spelling is used: a log-on needs the
// domain, which a record's login may leave out.
func (r *run) subject(s *site) dependency.Subject {
	id := r.authority.findings.Identity
	if seen := s.inventory.Subject; seen.Name != "" && seen.SID == id.SID {
		id.Name = seen.Name
	}
	return dependency.Subject{Login: r.account.Name, Identity: id, Local: id.Alias != id.SID}
}

// joinTwins finds records that name one machine: the first by title does the
// work of all, so that nothing is touched twice.
func (r *run) joinTwins() {
	first := map[string]*site{}
	for _, s := range r.sites {
		if s.skipped != "" || s.inventory.MachineID == "" {
			continue
		}
		other, ok := first[s.inventory.MachineID]
		if !ok {
			first[s.inventory.MachineID] = s
			continue
		}
		s.twin = other
		for _, k := range s.kinds {
			if !slices.Contains(other.kinds, k) {
				other.kinds = append(other.kinds, k)
				other.inventory.Items = append(other.inventory.Items, itemsOf(s.inventory.Items, k)...)
			}
		}
	}
}
