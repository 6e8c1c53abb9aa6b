package vault

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"keyturn/pkg/pam"
)

// A damage is what became of one row.
type damage struct{ what, why string }

// report says of each record what became of it.
func (w *wreck) report(ctx context.Context, t *txn) error {
	trash, err := all[trashed](ctx, t, groupTrash, every)
	if err != nil {
		return err
	}
	users, err := usersOf(ctx, t, trash)
	if err != nil {
		return err
	}
	damages := map[pam.UID][]damage{}
	for k, why := range w.reasons() {
		owners, what := owned(k, users)
		if what == "" || len(owners) == 0 && why == whyDoubt { // the page that is broken is told of
			continue
		}
		if len(owners) == 0 {
			w.result.Lost = append(w.result.Lost, strings.Join(strings.Fields(what+" "+k.owner+" "+k.id), " ")+": "+why)
		}
		for _, uid := range owners {
			damages[uid] = append(damages[uid], damage{what, why})
		}
	}
	states, err := w.states(ctx, t, damages, trash)
	if err != nil {
		return err
	}
	for uid, r := range states {
		r.UID, r.Lost = uid, grouped(damages[uid])
		w.result.Records = append(w.result.Records, r)
	}
	slices.SortFunc(w.result.Records, func(a, b SalvagedRecord) int {
		return cmp.Or(compareFold(a.Title, b.Title), cmp.Compare(a.UID, b.UID))
	})
	w.result.Lost = append(w.result.Lost, w.unknown()...)
	slices.Sort(w.result.Lost)
	return nil
}

// usersOf returns the records that name each account, also those in the trash.
func usersOf(ctx context.Context, t *txn, trash []trashed) (map[pam.UID][]pam.UID, error) {
	links, err := t.rows(ctx, groupUser, every)
	users := map[pam.UID][]pam.UID{}
	for _, l := range links {
		users[pam.UID(l.owner)] = append(users[pam.UID(l.owner)], pam.UID(l.id))
	}
	for _, d := range trash {
		users[d.Body.Account] = append(users[d.Body.Account], d.Head.UID)
	}
	return users, err
}

// reasons are those of what is lost and of what is in doubt.
func (w *wreck) reasons() map[key]string {
	reasons := map[key]string{}
	for _, r := range w.saved {
		if r.doubt != "" {
			reasons[r.key] = r.doubt
		}
	}
	maps.Copy(reasons, w.losses)
	return reasons
}

// owned returns the records that a row belongs to and what it is of them; for a
// row of no record what it is, and "" for what is made anew or counted elsewhere.
func owned(k key, users map[pam.UID][]pam.UID) (records []pam.UID, what string) {
	switch k.group {
	case groupAlias, groupCatalogue, groupUser, groupAudit:
		return nil, ""
	case groupHead:
		return []pam.UID{pam.UID(k.id)}, "title"
	case groupBody:
		return []pam.UID{pam.UID(k.id)}, "fields"
	case groupRotation:
		return []pam.UID{pam.UID(k.id)}, "rotation settings"
	case groupResource:
		return []pam.UID{pam.UID(k.id)}, "admin and configuration"
	case groupTrash:
		return []pam.UID{pam.UID(k.id)}, "all that lay in the trash"
	case groupMapping:
		return []pam.UID{pam.UID(k.owner)}, "mapping to " + k.id
	case groupRevision:
		return []pam.UID{pam.UID(k.owner)}, "revision " + strings.TrimLeft(k.id, "0")
	case groupAccount:
		return users[pam.UID(k.id)], "account"
	case groupCredential:
		return users[pam.UID(k.owner)], "password " + strings.TrimLeft(k.id, "0")
	default:
		return nil, k.group.name()
	}
}

// states says of each record where it is now.
func (w *wreck) states(ctx context.Context, t *txn, damages map[pam.UID][]damage, trash []trashed) (map[pam.UID]SalvagedRecord, error) {
	states := map[pam.UID]SalvagedRecord{}
	for uid := range damages {
		states[uid] = SalvagedRecord{State: SalvageLost}
	}
	for _, d := range trash {
		states[d.Head.UID] = SalvagedRecord{Title: d.Head.Title, State: SalvageTrash}
	}
	heads, err := t.heads(ctx)
	if err != nil {
		return nil, err
	}
	for _, h := range heads {
		r := SalvagedRecord{Title: h.Title, State: SalvageWhole}
		if len(damages[h.UID]) > 0 {
			r.State = SalvagePart
		}
		states[h.UID] = r
	}
	return states, nil
}

// grouped are damages as lines, those with one reason on one.
func grouped(damages []damage) []string {
	by := map[string][]string{}
	for _, d := range damages {
		by[d.why] = append(by[d.why], d.what)
	}
	var lines []string
	for why, what := range by {
		slices.Sort(what)
		lines = append(lines, strings.Join(what, ", ")+": "+why)
	}
	slices.Sort(lines)
	return lines
}

// unknown says what cannot be known.
func (w *wreck) unknown() []string {
	if w.meta == nil {
		return []string{"the row that vouches for all others: what is lost without a trace is not known"}
	}
	var lines []string
	for n := range manifestPages {
		if p := w.pages[n]; p == nil || !p.proven {
			lines = append(lines, fmt.Sprintf("page %d of the list of rows: what is lost of it without a trace is not known", n))
		}
	}
	if len(lines) == manifestPages {
		return []string{"the list of all rows: what is lost without a trace is not known"}
	}
	if !w.result.AuditWhole {
		lines = append(lines, "the audit trail is broken: what is left of it begins a new one")
	}
	return lines
}
