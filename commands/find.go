package commands

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"unicode/utf8"

	"keyturn/pkg/pam"
)

const listHint = `"keyturn ls -l -R" shows every record with its UID`

// find returns the record that somebody named by UID, title or path.
func (c *call) find(ctx context.Context, name string) (pam.Head, error) {
	return c.vault.Find(ctx, name, c.Session.Folder)
}

// findTyped returns a record of one type. absent and wrong are what Commander
// says when there is none and when it is of another type.
func (c *call) findTyped(ctx context.Context, name string, typ pam.RecordType, absent, wrong string) (pam.Head, error) {
	h, err := c.find(ctx, name)
	if errors.Is(err, pam.ErrNotFound) {
		if !strings.HasPrefix(absent, "Record [") {
			absent += " Record: " + name
		}
		return h, pam.Errorf(pam.ErrNotFound, "%s", absent).
			WithHint("%s", listHint)
	}
	if err != nil {
		return h, err
	}
	if h.Type != typ {
		return h, pam.Errorf(pam.ErrInvalidInput, "%s Record: %s, a %s", wrong, titled(h.Title, h.UID), h.Type).
			WithHint(`"keyturn search -l %s" shows the records of the right type`, typ)
	}
	return h, nil
}

func (c *call) findUser(ctx context.Context, name string) (pam.Head, error) {
	return c.findTyped(ctx, name, pam.TypeUser,
		"The user record does not exists.", "The user record is not a PAM User.")
}

func (c *call) findMachine(ctx context.Context, name string) (pam.Head, error) {
	return c.findTyped(ctx, name, pam.TypeMachine,
		"The machine record does not exists.", "The machine record is not a PAM Machine.")
}

// findAdmin returns the record of who logs in somewhere.
func (c *call) findAdmin(ctx context.Context, name string) (pam.Head, error) {
	return c.findTyped(ctx, name, pam.TypeUser,
		"The admin record does not exist.", "The admin record is not a PAM User.")
}

// findGateway returns a gateway by UID or name; names compare without case.
func (c *call) findGateway(ctx context.Context, name string) (pam.Gateway, error) {
	gateways, err := c.vault.Gateways(ctx)
	if err != nil {
		return pam.Gateway{}, err
	}
	for _, g := range gateways {
		if string(g.UID) == name || strings.EqualFold(g.Name, name) {
			return g, nil
		}
	}
	return pam.Gateway{}, pam.Errorf(pam.ErrNotFound, "Could not find the gateway configuration for %s.", name).
		WithHint(`"keyturn pam gateway list" shows the gateways`)
}

// findConfiguration returns a configuration by UID or title.
func (c *call) findConfiguration(ctx context.Context, name string) (pam.Configuration, error) {
	configs, err := c.vault.Configurations(ctx)
	if err != nil {
		return pam.Configuration{}, err
	}
	var found []pam.Configuration
	for _, cfg := range configs {
		if string(cfg.UID) == name {
			return cfg, nil
		}
		if strings.EqualFold(cfg.Title, name) {
			found = append(found, cfg)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return pam.Configuration{}, pam.Errorf(pam.ErrNotFound, "Configuration %q not found", name).
			WithHint(`"keyturn pam config list" shows the configurations`)
	}
	return pam.Configuration{}, pam.Errorf(pam.ErrAmbiguous, "%q matches multiple configurations. Use a UID.", name).
		WithHint(`"keyturn pam config list" shows the configurations`)
}

// configurationOf returns the configuration a machine belongs to: the one its
// settings name, else the only one there is.
func (c *call) configurationOf(ctx context.Context, machine pam.Head) (pam.Configuration, error) {
	s, err := c.vault.ResourceSettings(ctx, machine.UID)
	if err != nil {
		return pam.Configuration{}, err
	}
	configs, err := c.vault.Configurations(ctx)
	if err != nil {
		return pam.Configuration{}, err
	}
	var titles []string
	for _, cfg := range configs {
		if cfg.UID == s.Configuration || s.Configuration == "" && len(configs) == 1 {
			return cfg, nil
		}
		titles = append(titles, titled(cfg.Title, cfg.UID))
	}
	return pam.Configuration{}, pam.Errorf(pam.ErrInvalidInput, "machine %s belongs to no PAM configuration",
		titled(machine.Title, machine.UID)).
		WithHint("keyturn pam rotation edit -rs %s -c CONFIGURATION, one of %s", machine.UID, strings.Join(titles, ", "))
}

// titled is how a record is named in messages and lists: "Title (UID)".
func titled(title string, uid pam.UID) string { return title + " (" + string(uid) + ")" }

// glob compiles a shell pattern that is matched without case, as fnmatch does:
// * and ? also match a slash.
func glob(pattern string) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString(`(?is)\A`)
	for rest := pattern; rest != ""; {
		r, size := utf8.DecodeRuneInString(rest)
		switch end := strings.IndexByte(rest, ']'); {
		case r == '*':
			b.WriteString(`.*`)
		case r == '?':
			b.WriteByte('.')
		case r == '[' && end > 1:
			b.WriteString(class(rest[1:end]))
			size = end + 1
		default:
			b.WriteString(regexp.QuoteMeta(rest[:size]))
		}
		rest = rest[size:]
	}
	b.WriteString(`\z`)
	re, err := regexp.Compile(b.String())
	if err != nil {
		return nil, usagef("%q is not a pattern: %w", pattern, err)
	}
	return re, nil
}

// class is a character class of a pattern, "!" at its beginning negates.
func class(set string) string {
	negate := ""
	if rest, ok := strings.CutPrefix(set, "!"); ok {
		set, negate = rest, "^"
	}
	return "[" + negate + strings.NewReplacer(`\`, `\\`, "[", `\[`, "^", `\^`).Replace(set) + "]"
}
