package vault

import (
	"context"
	"errors"
	"slices"

	"keyturn/pkg/pam"
)

// A Project is records that come from elsewhere together with what the vault
// keeps beside records. Everything names records by the UIDs that they ask for.
type Project struct {
	Gateway       *pam.Gateway       // a new one; nil is none
	Configuration *pam.Configuration // a new one; nil is none
	Records       []Import           // each with a UID
	// Settings of records that are new; those of others are left as they are.
	Resources []pam.ResourceSettings
	Rotations []pam.RotationSettings
	Mappings  []pam.Mapping // added to what is mapped already
}

// ImportProject adds a project, all of it or nothing. Records are taken over as by
// Import. The error is an [ImportError] when it is about one record or the
// settings of one.
func (v *Vault) ImportProject(ctx context.Context, p Project, o ImportOptions) ([]ImportAction, error) {
	actions := make([]ImportAction, len(p.Records))
	err := v.update(ctx, "import a project", func(t *txn) error {
		imp, err := t.importer(ctx, o)
		if err != nil {
			return err
		}
		if err := imp.project(ctx, p, actions); err != nil {
			return err
		}
		if o.DryRun {
			return errDryRun
		}
		return t.audit(ctx, "vault.import", v.id, "a project of %d records", len(p.Records))
	})
	if o.DryRun && errors.Is(err, errDryRun) {
		err = nil
	}
	return actions, err
}

func (imp *importer) project(ctx context.Context, p Project, actions []ImportAction) error {
	if err := imp.newGateway(ctx, p.Gateway); err != nil {
		return err
	}
	if err := imp.records(ctx, p.Records, actions); err != nil {
		return err
	}
	if p.Configuration != nil {
		c := *p.Configuration
		c.Admin = imp.uid(c.Admin)
		if err := imp.setConfiguration(ctx, c); err != nil {
			return err
		}
	}
	return imp.settings(ctx, p)
}

func (imp *importer) newGateway(ctx context.Context, g *pam.Gateway) error {
	if g == nil {
		return nil
	}
	if err := imp.put(ctx, rowKey(groupGateway, g.UID), *g); err != nil {
		return err
	}
	return imp.audit(ctx, "gateway.add", g.UID, "")
}

// settings saves what belongs to the records.
func (imp *importer) settings(ctx context.Context, p Project) error {
	at := func(record pam.UID, field string, err error) error {
		i := slices.IndexFunc(p.Records, func(r Import) bool { return r.Record.UID == record })
		if err == nil || i < 0 {
			return err
		}
		return &ImportError{Index: i, Field: field, Err: err}
	}
	for _, s := range p.Resources {
		if err := at(s.Resource, "pam_settings", imp.newResource(ctx, s)); err != nil {
			return err
		}
	}
	for _, s := range p.Rotations {
		if err := at(s.User, "rotation_settings", imp.newRotation(ctx, s)); err != nil {
			return err
		}
	}
	for _, m := range p.Mappings {
		if err := at(m.Machine, "services", imp.moreMapping(ctx, m)); err != nil {
			return err
		}
	}
	return nil
}

// uid is the UID that a record got for the one it asked for.
func (imp *importer) uid(asked pam.UID) pam.UID {
	if got, ok := imp.added[asked]; ok {
		return got
	}
	return asked
}

func (imp *importer) newResource(ctx context.Context, s pam.ResourceSettings) error {
	if _, added := imp.added[s.Resource]; !added {
		return nil
	}
	s.Resource, s.Admin = imp.uid(s.Resource), imp.uid(s.Admin)
	return imp.setResource(ctx, s)
}

func (imp *importer) newRotation(ctx context.Context, s pam.RotationSettings) error {
	if _, added := imp.added[s.User]; !added {
		return nil
	}
	s.User, s.Resource = imp.uid(s.User), imp.uid(s.Resource)
	return imp.setRotation(ctx, s)
}

func (imp *importer) moreMapping(ctx context.Context, m pam.Mapping) error {
	m.User, m.Machine = imp.uid(m.User), imp.uid(m.Machine)
	old, _, err := load[pam.Mapping](ctx, imp.txn, ownedKey(groupMapping, m.User, string(m.Machine)))
	if err != nil || old.Kinds|m.Kinds == old.Kinds {
		return err
	}
	m.Kinds |= old.Kinds
	return imp.setMapping(ctx, m)
}
