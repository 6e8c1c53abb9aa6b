package vault

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"keyturn/pkg/pam"
)

// Gateways returns all gateways by name.
func (v *Vault) Gateways(ctx context.Context) ([]pam.Gateway, error) {
	return list(ctx, v, groupGateway, func(a, b pam.Gateway) int {
		return cmp.Or(compareFold(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
	})
}

// Configurations returns all configurations by title.
func (v *Vault) Configurations(ctx context.Context) ([]pam.Configuration, error) {
	return list(ctx, v, groupConfiguration, compareConfigurations)
}

func compareConfigurations(a, b pam.Configuration) int {
	return cmp.Or(compareFold(a.Title, b.Title), cmp.Compare(a.UID, b.UID))
}

// list reads a whole group in order.
func list[T any](ctx context.Context, v *Vault, g group, compare func(a, b T) int) ([]T, error) {
	var docs []T
	err := v.view(ctx, func(t *txn) (err error) {
		docs, err = all[T](ctx, t, g, every)
		return err
	})
	slices.SortFunc(docs, compare)
	return docs, err
}

// SetConfiguration saves a configuration; see [Vault.AddConfiguration] for a new one.
// Titles are unique without case: ErrConflict.
func (v *Vault) SetConfiguration(ctx context.Context, c pam.Configuration) error {
	return v.update(ctx, "save configuration "+c.Title, func(t *txn) error { return t.setConfiguration(ctx, c) })
}

func (t *txn) setConfiguration(ctx context.Context, c pam.Configuration) error {
	others, err := all[pam.Configuration](ctx, t, groupConfiguration, every)
	if err != nil {
		return err
	}
	for _, o := range others {
		if o.UID != c.UID && strings.EqualFold(o.Title, c.Title) {
			return pam.Errorf(pam.ErrConflict, "there is a configuration %q already (%s); nothing changed", o.Title, o.UID)
		}
	}
	if err := t.checkConfiguration(ctx, c); err != nil {
		return err
	}
	if err := t.put(ctx, rowKey(groupConfiguration, c.UID), c); err != nil {
		return err
	}
	return t.audit(ctx, "configuration.set", c.UID, "admin %s", c.Admin)
}

func (t *txn) checkConfiguration(ctx context.Context, c pam.Configuration) error {
	if strings.TrimSpace(c.Title) == "" {
		return pam.Errorf(pam.ErrInvalidInput, "the configuration has no title; nothing changed")
	}
	if _, found, err := load[pam.Gateway](ctx, t, rowKey(groupGateway, c.Gateway)); err != nil {
		return err
	} else if !found {
		return pam.Errorf(pam.ErrNotFound, "configuration %q: there is no gateway %q; nothing changed", c.Title, c.Gateway)
	}
	return t.checkAdmin(ctx, c.Admin)
}

// checkAdmin refuses an admin that can never log in anywhere; "" is none.
func (t *txn) checkAdmin(ctx context.Context, admin pam.UID) error {
	if admin == "" {
		return nil
	}
	h, err := t.mustHead(ctx, admin)
	if err != nil {
		return err
	}
	if h.Type != pam.TypeUser && h.Type != pam.TypeLogin {
		return pam.Errorf(pam.ErrInvalidInput, "record %q (%s) is a %s and cannot be an admin; nothing changed", h.Title, h.UID, h.Type).
			WithHint("an admin is a pamUser or login record")
	}
	return nil
}

// Rotations returns all rotation settings by user.
func (v *Vault) Rotations(ctx context.Context) ([]pam.RotationSettings, error) {
	return list(ctx, v, groupRotation, func(a, b pam.RotationSettings) int { return cmp.Compare(a.User, b.User) })
}

// Rotation returns a user's rotation settings; ok is false when there are none.
func (v *Vault) Rotation(ctx context.Context, user pam.UID) (s pam.RotationSettings, ok bool, err error) {
	err = v.view(ctx, func(t *txn) (err error) {
		s, ok, err = load[pam.RotationSettings](ctx, t, rowKey(groupRotation, user))
		return err
	})
	return s, ok, err
}

// SetRotation saves a user's rotation settings and links the account to the
// resource: Linux or Windows as the machine's operating system says. Another
// resource is refused with ErrConflict while a job holds the account.
func (v *Vault) SetRotation(ctx context.Context, s pam.RotationSettings) error {
	return v.update(ctx, "save rotation settings", func(t *txn) error { return t.setRotation(ctx, s) })
}

func (t *txn) setRotation(ctx context.Context, s pam.RotationSettings) error {
	user, err := t.mustHead(ctx, s.User)
	if err != nil {
		return err
	}
	if user.Type != pam.TypeUser {
		return errNotUser(user)
	}
	if err := t.checkResource(ctx, s.Resource); err != nil {
		return err
	}
	if err := t.linkResource(ctx, user, s.Resource); err != nil {
		return err
	}
	if err := t.put(ctx, rowKey(groupRotation, s.User), s); err != nil {
		return err
	}
	return t.audit(ctx, "rotation.set", s.User, "resource %s, enabled %t", s.Resource, s.Enabled)
}

func errNotUser(h pam.Head) error {
	return pam.Errorf(pam.ErrInvalidInput, "The user record is not a PAM User. %q (%s) is a %s; nothing changed", h.Title, h.UID, h.Type)
}

// checkResource refuses what cannot decide a password; "" is none yet.
func (t *txn) checkResource(ctx context.Context, resource pam.UID) error {
	if resource == "" {
		return nil
	}
	r, err := t.mustRecord(ctx, resource)
	if err != nil {
		return err
	}
	defer r.Destroy()
	if r.Type == pam.TypeDirectory {
		_, err := pam.MachineOf(r)
		return err
	}
	if r.Type != pam.TypeMachine {
		return errNotMachine(r.Head)
	}
	if authorityOf(r) != pam.AuthorityUnknown {
		return nil
	}
	hint := "keyturn record-update -r " + string(r.UID) + " text.operatingSystem=windows"
	if system := r.Text("text", "operatingSystem"); system != "" {
		return pam.Errorf(pam.ErrInvalidInput, "machine %q (%s): passwords on operating system %q cannot be rotated; nothing changed",
			r.Title, r.UID, system).WithHint("%s", hint)
	}
	return pam.Errorf(pam.ErrInvalidInput, "The operating system field of the machine record is blank. Machine %q (%s); nothing changed",
		r.Title, r.UID).WithHint("%s", hint)
}

func errNotMachine(h pam.Head) error {
	return pam.Errorf(pam.ErrInvalidInput, "The machine record is not a PAM Machine. %q (%s) is a %s; nothing changed",
		h.Title, h.UID, h.Type)
}

// authorityOf is the kind of authority that a record describes.
func authorityOf(r pam.Record) pam.AuthorityKind {
	switch r.Type {
	case pam.TypeDirectory:
		if _, err := pam.MachineOf(r); err == nil {
			return pam.AuthorityDirectory
		}
		return pam.AuthorityUnknown
	case pam.TypeMachine:
		return pam.SystemAuthority(r.Text("text", "operatingSystem"))
	default:
		return pam.AuthorityUnknown
	}
}

// linkResource makes resource the authority of the user's account. What another
// authority called the account is forgotten.
func (t *txn) linkResource(ctx context.Context, user pam.Head, resource pam.UID) error {
	uid, err := t.accountOf(ctx, user.UID)
	if err != nil {
		return err
	}
	a, err := t.account(ctx, uid)
	if err != nil || a.Resource == resource {
		return err
	}
	if err := t.notHeld(ctx, uid, "link user "+user.Title+" to another resource"); err != nil {
		return err
	}
	if err := t.dropAlias(ctx, a.Identity); err != nil {
		return err
	}
	a.Resource, a.SID, a.Identity = resource, "", ""
	return t.put(ctx, rowKey(groupAccount, uid), a)
}

// ResourceSettings returns a machine's settings, the zero ones when none were saved.
func (v *Vault) ResourceSettings(ctx context.Context, resource pam.UID) (pam.ResourceSettings, error) {
	s := pam.ResourceSettings{Resource: resource}
	err := v.view(ctx, func(t *txn) (err error) {
		s, err = t.resource(ctx, resource)
		return err
	})
	return s, err
}

func (t *txn) resource(ctx context.Context, resource pam.UID) (pam.ResourceSettings, error) {
	s, _, err := load[pam.ResourceSettings](ctx, t, rowKey(groupResource, resource))
	s.Resource = resource
	return s, err
}

// SetResourceSettings saves a machine's settings. For a pamUser only Disabled
// has a meaning: its password is not carried to any machine.
func (v *Vault) SetResourceSettings(ctx context.Context, s pam.ResourceSettings) error {
	return v.update(ctx, "save the settings of "+string(s.Resource), func(t *txn) error { return t.setResource(ctx, s) })
}

func (t *txn) setResource(ctx context.Context, s pam.ResourceSettings) error {
	if _, err := t.mustHead(ctx, s.Resource); err != nil {
		return err
	}
	if err := t.checkAdmin(ctx, s.Admin); err != nil {
		return err
	}
	if s.Configuration != "" {
		if _, found, err := load[pam.Configuration](ctx, t, rowKey(groupConfiguration, s.Configuration)); err != nil {
			return err
		} else if !found {
			return pam.Errorf(pam.ErrNotFound, "there is no configuration %q; nothing changed", s.Configuration)
		}
	}
	if s.Disabled {
		own := func(user, machine pam.UID) bool { return user == s.Resource || machine == s.Resource }
		if err := t.nothingStopped(ctx, "leave it out of rotations", own); err != nil {
			return err
		}
	}
	if err := t.put(ctx, rowKey(groupResource, s.Resource), s); err != nil {
		return err
	}
	return t.audit(ctx, "resource.set", s.Resource, "admin %s, disabled %t", s.Admin, s.Disabled)
}

// AllMappings returns every mapping, by user then machine.
func (v *Vault) AllMappings(ctx context.Context) ([]pam.Mapping, error) {
	return list(ctx, v, groupMapping, compareMappings)
}

func compareMappings(a, b pam.Mapping) int {
	return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.Machine, b.Machine))
}

// SetMapping saves a mapping; zero Kinds removes it.
func (v *Vault) SetMapping(ctx context.Context, m pam.Mapping) error {
	return v.update(ctx, "save a mapping", func(t *txn) error { return t.setMapping(ctx, m) })
}

func (t *txn) setMapping(ctx context.Context, m pam.Mapping) error {
	k := ownedKey(groupMapping, m.User, string(m.Machine))
	old, _, err := load[pam.Mapping](ctx, t, k)
	if err != nil {
		return err
	}
	if old.Kinds&^m.Kinds != 0 {
		stays := func(user, machine pam.UID) bool { return user == m.User && machine == m.Machine }
		if err := t.nothingStopped(ctx, "narrow a mapping", stays); err != nil {
			return err
		}
	}
	if m.Kinds == 0 {
		if err := t.drop(ctx, k); err != nil {
			return err
		}
		return t.audit(ctx, "mapping.remove", m.User, "machine %s", m.Machine)
	}
	if h, err := t.mustHead(ctx, m.User); err != nil {
		return err
	} else if h.Type != pam.TypeUser {
		return errNotUser(h)
	}
	if h, err := t.mustHead(ctx, m.Machine); err != nil {
		return err
	} else if h.Type != pam.TypeMachine {
		return errNotMachine(h)
	}
	if err := t.put(ctx, k, m); err != nil {
		return err
	}
	return t.audit(ctx, "mapping.set", m.User, "machine %s: %s", m.Machine, m.Kinds.Label())
}
