package vault

import (
	"context"
	"slices"
	"strings"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// User returns a pamUser's rotation settings and account; ErrInvalidInput when
// it has no rotation settings.
func (v *Vault) User(ctx context.Context, user pam.UID) (pam.RotationSettings, pam.Account, error) {
	var s pam.RotationSettings
	var a pam.Account
	err := v.view(ctx, func(t *txn) (err error) {
		s, a, err = t.user(ctx, user)
		return err
	})
	return s, a, err
}

func (t *txn) user(ctx context.Context, user pam.UID) (s pam.RotationSettings, a pam.Account, err error) {
	h, err := t.mustHead(ctx, user)
	if err != nil {
		return s, a, err
	}
	if h.Type != pam.TypeUser {
		return s, a, errNotUser(h)
	}
	s, found, err := load[pam.RotationSettings](ctx, t, rowKey(groupRotation, user))
	if err != nil {
		return s, a, err
	}
	if !found {
		return s, a, pam.Errorf(pam.ErrInvalidInput, "The user record does not have any rotation settings. User %q (%s); nothing changed",
			h.Title, user).
			WithHint("keyturn pam rotation edit -r %s -rs MACHINE --enable", user)
	}
	account, err := t.accountOf(ctx, user)
	if err != nil {
		return s, a, err
	}
	a, err = t.account(ctx, account)
	return s, a, err
}

// Machine returns a pamMachine record read as a machine.
func (v *Vault) Machine(ctx context.Context, machine pam.UID) (pam.Machine, error) {
	var m pam.Machine
	err := v.view(ctx, func(t *txn) error {
		r, err := t.mustRecord(ctx, machine)
		if err != nil {
			return err
		}
		defer r.Destroy()
		if r.Type != pam.TypeMachine && r.Type != pam.TypeDirectory {
			return errNotMachine(r.Head)
		}
		m, err = pam.MachineOf(r)
		return err
	})
	return m, err
}

// Admin returns who logs in to a machine: its own admin, else its
// configuration's; ErrInvalidInput names both commands that set one.
func (v *Vault) Admin(ctx context.Context, machine pam.UID) (pam.Login, error) {
	var l pam.Login
	err := v.view(ctx, func(t *txn) error {
		m, err := t.mustHead(ctx, machine)
		if err != nil {
			return err
		}
		admin, configuration, err := t.admin(ctx, machine)
		if err != nil {
			return err
		}
		l, err = t.login(ctx, admin)
		if err != nil {
			return errNoAdmin(m, configuration, err)
		}
		return nil
	})
	return l, err
}

// admin finds the admin's record; "" when there is none, with the title of the
// configuration that could name one.
func (t *txn) admin(ctx context.Context, machine pam.UID) (admin pam.UID, configuration string, err error) {
	s, err := t.resource(ctx, machine)
	if err != nil {
		return "", "", err
	}
	configurations, err := all[pam.Configuration](ctx, t, groupConfiguration, every)
	if err != nil || len(configurations) == 0 {
		return s.Admin, firstConfiguration, err
	}
	slices.SortFunc(configurations, compareConfigurations)
	c := configurations[0]
	for _, other := range configurations {
		if other.UID == s.Configuration || (s.Configuration == "" && other.Title == firstConfiguration) {
			c = other
		}
	}
	if s.Admin == "" {
		s.Admin = c.Admin
	}
	return s.Admin, c.Title, nil
}

func errNoAdmin(m pam.Head, configuration string, why error) error {
	return pam.Errorf(pam.ErrInvalidInput, "machine %q (%s) has no admin to log in with: %w; nothing changed", m.Title, m.UID, why).
		WithHint("keyturn pam rotation edit -rs %s -a ADMIN, or for all machines: keyturn pam config edit %q -a ADMIN",
			m.UID, configuration)
}

// login reads a pamUser or login record as a log-in.
func (t *txn) login(ctx context.Context, admin pam.UID) (pam.Login, error) {
	if admin == "" {
		return pam.Login{}, pam.Errorf(pam.ErrInvalidInput, "neither it nor its configuration names one")
	}
	r, found, err := t.record(ctx, admin)
	if err != nil {
		return pam.Login{}, err
	}
	if !found {
		return pam.Login{}, pam.Errorf(pam.ErrNotFound, "record %s was deleted", admin)
	}
	defer r.Destroy()
	l := pam.Login{Record: r.UID, Title: r.Title, User: r.Text("login", "")}
	if l.Agent, err = agentOf(r); err != nil {
		return pam.Login{}, err
	}
	l.PrivateKey, l.Passphrase = keyOf(r)
	if l.Password, err = t.password(ctx, &r); err != nil {
		return pam.Login{}, err
	}
	switch {
	case l.User == "":
		return pam.Login{}, pam.Errorf(pam.ErrInvalidInput, "record %q (%s) has no login", r.Title, r.UID)
	case l.Password.IsZero() && l.PrivateKey.IsZero() && l.Agent == "":
		return pam.Login{}, pam.Errorf(pam.ErrInvalidInput, "record %q (%s) has neither a password nor a private key", r.Title, r.UID)
	}
	return l, nil
}

// keyOf returns copies of a record's private key and its passphrase.
func keyOf(r pam.Record) (key, passphrase secret.Value) {
	if f := r.Field("secret", "privatePEMKey"); f != nil {
		key = f.Secret.Clone()
	}
	if f := r.Field("secret", "passphrase"); f != nil && !key.IsZero() {
		passphrase = f.Secret.Clone()
	}
	return key, passphrase
}

// agentOf reads the field sshAgent: on, off, or the fingerprint of a key. An
// agent is asked only where a record says so.
func agentOf(r pam.Record) (string, error) {
	value := r.Text("text", "sshAgent")
	switch {
	case value == "", strings.EqualFold(value, "off"):
		return "", nil
	case strings.EqualFold(value, pam.AgentOn):
		return pam.AgentOn, nil
	case strings.HasPrefix(value, "SHA256:"):
		return value, nil
	}
	return "", pam.Errorf(pam.ErrInvalidInput, "record %q (%s): sshAgent %q is neither on nor off nor a key's fingerprint (SHA256:...)",
		r.Title, r.UID, value).WithHint("keyturn record-update -r %s c.text.sshAgent=on", r.UID)
}

// password returns a copy of a record's password: of a pamUser its credential's.
func (t *txn) password(ctx context.Context, r *pam.Record) (secret.Value, error) {
	if r.Type != pam.TypeUser {
		if f := r.Field("password", ""); f != nil {
			return f.Secret.Clone(), nil
		}
		return secret.Value{}, nil
	}
	account, err := t.accountOf(ctx, r.UID)
	if err != nil {
		return secret.Value{}, err
	}
	g, _, err := t.newest(ctx, account, pam.Current)
	return g.Password, err
}

// Mappings returns the user's mappings; those whose machine is disabled are
// marked so, and all of them when the user itself is.
func (v *Vault) Mappings(ctx context.Context, user pam.UID) ([]pam.Mapping, error) {
	mappings := []pam.Mapping{}
	err := v.view(ctx, func(t *txn) error {
		own, err := t.resource(ctx, user)
		if err != nil {
			return err
		}
		if mappings, err = all[pam.Mapping](ctx, t, groupMapping, user); err != nil {
			return err
		}
		for i := range mappings {
			s, err := t.resource(ctx, mappings[i].Machine)
			if err != nil {
				return err
			}
			mappings[i].Disabled = own.Disabled || s.Disabled
		}
		return nil
	})
	slices.SortFunc(mappings, compareMappings)
	return mappings, err
}

// HostKeys returns the accepted SSH host keys of a machine.
func (v *Vault) HostKeys(ctx context.Context, machine pam.UID) ([]string, error) {
	var keys []string
	err := v.view(ctx, func(t *txn) error {
		r, err := t.mustRecord(ctx, machine)
		if err != nil {
			return err
		}
		defer r.Destroy()
		for _, f := range r.Fields {
			if strings.EqualFold(f.Type, "text") && strings.EqualFold(f.Label, "hostKey") {
				keys = append(keys, f.Values...)
			}
		}
		return nil
	})
	return keys, err
}
