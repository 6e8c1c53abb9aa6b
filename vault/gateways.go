package vault

import (
	"context"
	"fmt"
	"strings"

	"keyturn/pkg/pam"
)

// SetGateway saves a gateway and returns its UID; one without a UID is a new one.
// Names are unique without case: ErrConflict.
func (v *Vault) SetGateway(ctx context.Context, g pam.Gateway) (pam.UID, error) {
	err := v.update(ctx, "save gateway "+g.Name, func(t *txn) error {
		if strings.TrimSpace(g.Name) == "" {
			return pam.Errorf(pam.ErrInvalidInput, "the gateway has no name; nothing changed")
		}
		gateways, err := all[pam.Gateway](ctx, t, groupGateway, every)
		if err != nil {
			return err
		}
		for _, o := range gateways {
			if o.UID != g.UID && strings.EqualFold(o.Name, g.Name) {
				return pam.Errorf(pam.ErrConflict, "there is a gateway %q already (%s); nothing changed", o.Name, o.UID)
			}
		}
		if g.UID == "" {
			if g.UID, err = t.newUID(); err != nil {
				return err
			}
		}
		if err := t.put(ctx, rowKey(groupGateway, g.UID), g); err != nil {
			return err
		}
		return t.audit(ctx, "gateway.set", g.UID, "")
	})
	if err != nil {
		return "", err
	}
	return g.UID, nil
}

// RemoveGateway removes a gateway that no configuration is bound to; ErrConflict
// otherwise, and for the last one, which no vault is without.
func (v *Vault) RemoveGateway(ctx context.Context, uid pam.UID) error {
	return v.update(ctx, "remove gateway "+string(uid), func(t *txn) error {
		gateways, err := all[pam.Gateway](ctx, t, groupGateway, every)
		if err != nil {
			return err
		}
		g, found, err := load[pam.Gateway](ctx, t, rowKey(groupGateway, uid))
		switch {
		case err != nil:
			return err
		case !found:
			return pam.Errorf(pam.ErrNotFound, "Gateway %s not found; nothing changed", uid)
		case len(gateways) == 1:
			return pam.Errorf(pam.ErrConflict, "gateway %q (%s) is the only one: a vault has at least one; nothing changed", g.Name, g.UID)
		}
		configurations, err := all[pam.Configuration](ctx, t, groupConfiguration, every)
		if err != nil {
			return err
		}
		var bound []string
		for _, c := range configurations {
			if c.Gateway == uid {
				bound = append(bound, named(c.Title, c.UID))
			}
		}
		if len(bound) > 0 {
			return pam.Errorf(pam.ErrConflict, "gateway %q (%s) is used by %s; nothing changed", g.Name, uid, few("configuration", bound)).
				WithHint("keyturn pam config edit CONFIG -g GATEWAY binds one to another gateway")
		}
		if err := t.drop(ctx, rowKey(groupGateway, uid)); err != nil {
			return err
		}
		return t.audit(ctx, "gateway.remove", uid, "")
	})
}

// AddConfiguration makes a configuration and returns its UID; see [Vault.SetConfiguration].
func (v *Vault) AddConfiguration(ctx context.Context, c pam.Configuration) (pam.UID, error) {
	err := v.update(ctx, "add configuration "+c.Title, func(t *txn) (err error) {
		if c.UID, err = t.newUID(); err != nil {
			return err
		}
		return t.setConfiguration(ctx, c)
	})
	if err != nil {
		return "", err
	}
	return c.UID, nil
}

// RemoveConfiguration removes a configuration that no machine and no rotation
// belongs to; ErrConflict otherwise, and for the last one, which no vault is without.
func (v *Vault) RemoveConfiguration(ctx context.Context, uid pam.UID) error {
	return v.update(ctx, "remove configuration "+string(uid), func(t *txn) error {
		configurations, err := all[pam.Configuration](ctx, t, groupConfiguration, every)
		if err != nil {
			return err
		}
		c, found, err := load[pam.Configuration](ctx, t, rowKey(groupConfiguration, uid))
		switch {
		case err != nil:
			return err
		case !found:
			return pam.Errorf(pam.ErrNotFound, "Configuration %s not found; nothing changed", uid)
		case len(configurations) == 1:
			return pam.Errorf(pam.ErrConflict, "configuration %q (%s) is the only one: a vault has at least one; nothing changed",
				c.Title, c.UID)
		}
		used, err := t.configured(ctx, uid)
		if err != nil {
			return err
		}
		if len(used) > 0 {
			return pam.Errorf(pam.ErrConflict, "configuration %q (%s) is used by %s; nothing changed", c.Title, c.UID, few("record", used)).
				WithHint("keyturn pam rotation edit -rs MACHINE -c CONFIG brings a machine to another one, and -r USER -c CONFIG a user")
		}
		if err := t.drop(ctx, rowKey(groupConfiguration, uid)); err != nil {
			return err
		}
		return t.audit(ctx, "configuration.remove", uid, "")
	})
}

// configured names the records that belong to a configuration: machines, and
// users by their rotation settings.
func (t *txn) configured(ctx context.Context, uid pam.UID) ([]string, error) {
	resources, err := all[pam.ResourceSettings](ctx, t, groupResource, every)
	if err != nil {
		return nil, err
	}
	rotations, err := all[pam.RotationSettings](ctx, t, groupRotation, every)
	if err != nil {
		return nil, err
	}
	var used []pam.UID
	for _, s := range resources {
		if s.Configuration == uid {
			used = append(used, s.Resource)
		}
	}
	for _, s := range rotations {
		if s.Configuration == uid {
			used = append(used, s.User)
		}
	}
	var names []string
	for _, record := range used {
		h, err := t.mustHead(ctx, record)
		if err != nil {
			return nil, err
		}
		names = append(names, named(h.Title, h.UID))
	}
	return names, nil
}

// configurationLeft is the configuration, or none where it was removed meanwhile.
func (t *txn) configurationLeft(ctx context.Context, uid pam.UID) (pam.UID, error) {
	_, found, err := load[pam.Configuration](ctx, t, rowKey(groupConfiguration, uid))
	if err != nil || !found {
		return "", err
	}
	return uid, nil
}

func named(title string, uid pam.UID) string { return fmt.Sprintf("%s (%s)", title, uid) }

// few names some of many things of one kind.
func few(kind string, names []string) string {
	const most = 3
	text := kind
	if len(names) > 1 {
		text += "s"
	}
	text += " " + strings.Join(names[:min(most, len(names))], ", ")
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
