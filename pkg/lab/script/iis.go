package script

import (
	"context"
	"slices"
	"strings"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/powershell"
	"keyturn/pkg/secret"
)

var iisKinds = []string{kindPool, kindVdir, kindAnon}

// A place is something in IIS that stores a user and a password. What has a
// lower rank is nearer to the root: who only inherits changes with it, and is
// never given a password of its own.
type place struct {
	kind, id string
	rank     int
	user     string
	password secret.Value
	pool     *model.Pool // nil for all but pools
}

// An iisNow is the configuration as it is read once.
type iisNow struct {
	places []place
	pools  []model.Pool
	shared string
}

// readIIS reads every place of kinds that stores a user.
func (r *run) readIIS(ctx context.Context, kinds []string) (iisNow, error) {
	var now iisNow
	var err error
	if now.pools, err = ask(ctx, r.m.Pools); err != nil {
		return now, err
	}
	v, err := ask(ctx, r.m.IIS)
	if err != nil {
		return now, err
	}
	now.shared = v.Shared
	add := func(p place) {
		if p.user != "" && slices.Contains(kinds, p.kind) {
			now.places = append(now.places, p)
		}
	}
	if d := v.PoolDefaults; d.IdentityType == model.PoolSpecificUser {
		add(place{kind: kindPool, id: model.PoolDefaults, user: d.UserName, password: d.Password})
	}
	for i, p := range now.pools {
		if p.IdentityType == model.PoolSpecificUser {
			add(place{kind: kindPool, id: p.Name, rank: 1, user: p.UserName, password: p.Password, pool: &now.pools[i]})
		}
	}
	add(place{kind: kindVdir, id: model.DirectoryDefaults, user: v.DirectoryDefaults.UserName, password: v.DirectoryDefaults.Password})
	for _, d := range v.Directories {
		add(place{kind: kindVdir, id: d.Name(), rank: 3, user: d.UserName, password: d.Password})
	}
	for _, a := range v.Anonymous {
		add(place{kind: kindAnon, id: a.Name(), rank: anonymousRank(a), user: a.UserName, password: a.Password})
	}
	return now, nil
}

// anonymousRank puts the server first, then location tags, then web.config files.
func anonymousRank(a model.AnonymousSpec) int {
	switch {
	case a.Location == "":
		return 0
	case a.WebConfig:
		return 100 + len(strings.Split(a.Name(), "/"))
	default:
		return len(strings.Split(a.Location, "/"))
	}
}

func (n iisNow) find(i powershell.ItemRef) *place {
	for k, p := range n.places {
		if p.kind == i.Kind && strings.EqualFold(p.id, i.ID) {
			return &n.places[k]
		}
	}
	return nil
}

func (r *run) lookIIS(ctx context.Context) error {
	if !r.info.IIS {
		return nil
	}
	now, err := r.readIIS(ctx, r.req.Kinds)
	if err != nil {
		return err
	}
	for _, p := range now.places {
		if err := r.lookPlace(ctx, p, now.shared); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) lookPlace(ctx context.Context, p place, shared string) error {
	m, err := r.match(ctx, p.user)
	if err != nil || !m.Hit && !m.Ambiguous {
		return err
	}
	l := powershell.Line{Phase: "look", Kind: p.kind, ID: p.id, RunAs: p.user, Match: m}
	if p.pool != nil {
		l.State, l.LogonType = poolState(*p.pool), p.pool.LogonType
		if p.pool.State != "" { // without the activation service there is nobody to ask
			l.Workers = slices.Sorted(slices.Values(p.pool.Workers))
		}
		r.explain(l.Workers...)
	}
	why := refusal(m)
	if why == "" && shared != "" {
		why = powershell.ClassSharedConfig
	}
	skip(&l, why)
	return r.item(ctx, l)
}

// A written is one item of an update: its line, its rank, -1 when there is
// nothing to write, and whether it held the password before anything was written.
type written struct {
	item powershell.ItemRef
	line powershell.Line
	rank int
	held bool
}

// updateIIS sets all items, those nearest to the root first.
func (r *run) updateIIS(ctx context.Context, items []powershell.ItemRef, password secret.Value) error {
	if len(items) == 0 {
		return nil
	}
	if !r.info.IIS {
		return r.rest(ctx, items, "failed", failure(powershell.ClassIISUnavailable, 0, "IIS is not installed"))
	}
	began := r.m.Clock().Now()
	records, err := r.judgePlaces(ctx, items, password)
	if err != nil {
		return err
	}
	ranks := map[int][]*written{}
	for i := range records {
		ranks[records[i].rank] = append(ranks[records[i].rank], &records[i])
	}
	for rank := range 200 {
		if err := r.savePlaces(ctx, ranks[rank], password); err != nil {
			return err
		}
	}
	for _, rec := range records {
		rec.line.Ms = r.since(began)
		if err := r.item(ctx, rec.line); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) judgePlaces(ctx context.Context, items []powershell.ItemRef, password secret.Value) ([]written, error) {
	now, err := r.readIIS(ctx, iisKinds)
	if err != nil {
		return nil, err
	}
	var records []written
	for _, i := range items {
		rec := written{item: i, rank: -1, line: powershell.Line{Phase: "update", Kind: i.Kind, ID: i.ID, Status: "ok"}}
		if err := r.judgePlace(ctx, now, password, &rec); err != nil {
			return nil, err
		}
		records = append(records, rec)
	}
	return records, nil
}

func (r *run) judgePlace(ctx context.Context, now iisNow, password secret.Value, rec *written) error {
	p := now.find(rec.item)
	if p == nil {
		if rec.item.Kind == kindPool && findPool(now.pools, rec.item.ID) != nil {
			skip(&rec.line, powershell.ClassRunAsChanged)
			return nil
		}
		rec.line.Status, rec.line.Err = "failed", failure(powershell.ClassNotFound, 0, "IIS has it no more")
		return nil
	}
	rec.line.Before = &powershell.ItemState{RunAs: p.user}
	if p.pool != nil {
		rec.line.Before.State = poolState(*p.pool)
	}
	m, err := r.match(ctx, p.user)
	if err != nil {
		return err
	}
	why := guard(m, p.user, rec.item)
	if why == "" && now.shared != "" {
		why = powershell.ClassSharedConfig
	}
	if skip(&rec.line, why); why == "" {
		rec.rank, rec.held = p.rank, p.password.Equal(password)
	}
	return nil
}

// reasonInherited is why an item was not written to: it took the password from
// what it inherits.
const reasonInherited = "inherited"

// savePlaces commits all records of one rank at once; a conflict with another
// writer is tried again once, from what is stored then.
func (r *run) savePlaces(ctx context.Context, records []*written, password secret.Value) error {
	var e *powershell.Err
	for range 2 {
		err := r.commitPlaces(ctx, records, password)
		if err == nil || dead(err) {
			return err
		}
		e = errorOf(err, powershell.ClassIISConfigConflict)
		if e.Class == powershell.ClassIISKeyAccess || e.Class == powershell.ClassAccessDenied {
			break
		}
	}
	for _, rec := range records {
		if rec.line.Status == "ok" && rec.line.Reason == "" {
			rec.line.Status, rec.line.Err = "failed", e
		}
	}
	return nil
}

func (r *run) commitPlaces(ctx context.Context, records []*written, password secret.Value) error {
	if len(records) == 0 {
		return nil
	}
	now, err := r.readIIS(ctx, iisKinds)
	if err != nil {
		return err
	}
	var changes []model.IISChange
	for _, rec := range records {
		l := &rec.line
		l.Status, l.Reason = "ok", ""
		p := now.find(rec.item)
		if p == nil {
			return model.NotFoundHR
		}
		m, err := r.match(ctx, p.user)
		if err != nil {
			return err
		}
		switch why := guard(m, p.user, rec.item); {
		case why != "":
			skip(l, why)
		case rec.held:
			l.Status, l.Reason = "noop", powershell.ClassAlreadyCurrent
		case p.password.Equal(password):
			l.Reason = reasonInherited
		default:
			changes = append(changes, model.IISChange{Kind: p.kind, Name: p.id, Password: password})
		}
	}
	if len(changes) == 0 {
		return nil
	}
	return do(ctx, func() error { return r.m.CommitIIS(changes) })
}
