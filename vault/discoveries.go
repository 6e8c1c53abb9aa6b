package vault

import (
	"cmp"
	"context"
	"slices"

	"keyturn/pkg/pam"
)

// SaveDiscovery saves a discovery; one without an id is a new one. It returns it
// with its id.
func (v *Vault) SaveDiscovery(ctx context.Context, d pam.Discovery) (pam.Discovery, error) {
	err := v.update(ctx, "save a discovery", func(t *txn) (err error) {
		news := d.ID == ""
		if news {
			if d.ID, err = t.newUID(); err != nil {
				return err
			}
		}
		if err := t.put(ctx, rowKey(groupDiscovery, d.ID), d); err != nil || !news {
			return err
		}
		return t.audit(ctx, "discovery.start", d.ID, "%s", d.Scope)
	})
	return d, err
}

// SaveFinding saves what a discovery saw on one machine.
func (v *Vault) SaveFinding(ctx context.Context, discovery pam.UID, f pam.Finding) error {
	return v.update(ctx, "save a finding", func(t *txn) error {
		if _, err := t.discovery(ctx, discovery); err != nil {
			return err
		}
		return t.put(ctx, ownedKey(groupFinding, discovery, string(f.Machine)), f)
	})
}

func (t *txn) discovery(ctx context.Context, id pam.UID) (pam.Discovery, error) {
	d, found, err := load[pam.Discovery](ctx, t, rowKey(groupDiscovery, id))
	if err == nil && !found {
		err = pam.Errorf(pam.ErrNotFound, "there is no discovery job %s", id).WithHint("keyturn pam action discover status --history")
	}
	return d, err
}

// Discoveries returns all discoveries, newest first.
func (v *Vault) Discoveries(ctx context.Context) ([]pam.Discovery, error) {
	return list(ctx, v, groupDiscovery, func(a, b pam.Discovery) int {
		return cmp.Or(b.Started.Compare(a.Started), cmp.Compare(b.ID, a.ID))
	})
}

// Discovery returns a discovery with its findings, by the machines' titles;
// ErrNotFound.
func (v *Vault) Discovery(ctx context.Context, id pam.UID) (pam.Discovery, []pam.Finding, error) {
	var d pam.Discovery
	var fs []pam.Finding
	err := v.view(ctx, func(t *txn) (err error) {
		if d, err = t.discovery(ctx, id); err != nil {
			return err
		}
		fs, err = all[pam.Finding](ctx, t, groupFinding, id)
		return err
	})
	slices.SortFunc(fs, func(a, b pam.Finding) int {
		return cmp.Or(compareFold(a.Title, b.Title), cmp.Compare(a.Machine, b.Machine))
	})
	return d, fs, err
}

// DeleteDiscovery forgets a discovery and what it found; ErrNotFound.
func (v *Vault) DeleteDiscovery(ctx context.Context, id pam.UID) error {
	return v.update(ctx, "delete discovery "+string(id), func(t *txn) error {
		if _, err := t.discovery(ctx, id); err != nil {
			return err
		}
		rows, err := t.rows(ctx, groupFinding, id)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if err := t.drop(ctx, r.key); err != nil {
				return err
			}
		}
		if err := t.drop(ctx, rowKey(groupDiscovery, id)); err != nil {
			return err
		}
		return t.audit(ctx, "discovery.delete", id, "")
	})
}
