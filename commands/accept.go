package commands

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"keyturn/pkg/discover"
	"keyturn/pkg/pam"
)

// maxPairs is far more than a file of fingerprints of ten thousand machines.
const maxPairs = 4 << 20

// accepted are the fingerprints that somebody has compared, by machine. Nothing is
// trusted that was not named here, whatever a machine shows.
type accepted map[pam.UID]string

// A trustPair is one MACHINE=FINGERPRINT as it was given. where says from which line of a
// file it is, whose content is never shown: the wrong file may be one of passwords.
type trustPair struct{ text, where string }

// String is how messages name the pair.
func (p trustPair) String() string {
	if p.where != "" {
		return p.where
	}
	return fmt.Sprintf("%.80q", p.text)
}

// split cuts a pair at the last "=" before the fingerprint: a title may hold one, and
// a whole host key may end with some.
func (p trustPair) split() (machine, fingerprint string, ok bool) {
	at := strings.LastIndex(strings.TrimRight(p.text, "= "), "=")
	if at < 1 {
		return "", "", false
	}
	return strings.TrimSpace(p.text[:at]), strings.TrimSpace(p.text[at+1:]), true
}

// accepting reads MACHINE=FINGERPRINT pairs, and files of them, one a line. Each
// names a machine of the scope: a slip of the pen must not trust another one.
func (c *call) accepting(ctx context.Context, s scope, args []string) (accepted, error) {
	all := accepted{}
	for _, arg := range args {
		pairs := []trustPair{{text: arg}}
		if file, ok := strings.CutPrefix(arg, "@"); ok {
			var err error
			if pairs, err = c.pairs(ctx, file); err != nil {
				return nil, err
			}
		}
		for _, p := range pairs {
			if err := c.admit(ctx, s, all, p); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// admit adds a pair to those that are accepted.
func (c *call) admit(ctx context.Context, s scope, all accepted, p trustPair) error {
	machine, fingerprint, ok := p.split()
	if !ok {
		return usagef("argument --accept: %s is not MACHINE=FINGERPRINT; nothing was accepted", p)
	}
	m, err := c.find(ctx, machine)
	if err != nil && p.where != "" {
		return pam.Errorf(pam.KindOf(err), "argument --accept: %s names no machine; nothing was accepted", p)
	}
	if err != nil {
		return err
	}
	if !slices.Contains(s.uids(), m.UID) {
		return usagef("argument --accept: %s is not among the machines of %s; nothing was accepted", titled(m.Title, m.UID), s.words)
	}
	if old, ok := all[m.UID]; ok && !alike(old, fingerprint) {
		return usagef("argument --accept: %s has two fingerprints; nothing was accepted", titled(m.Title, m.UID))
	}
	all[m.UID] = fingerprint
	return nil
}

// pairs reads a file of pairs; empty lines and those that begin with # say nothing.
func (c *call) pairs(ctx context.Context, name string) ([]trustPair, error) {
	failed := func(kind pam.Kind, why error) error {
		return pam.Errorf(unreadable(kind, why), "argument --accept: %s: %w; nothing was accepted", name, cause(why))
	}
	f, err := c.open(ctx, name)
	if err != nil {
		return nil, failed(pam.ErrInvalidInput, err)
	}
	defer f.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(f, maxPairs+1))
	if err != nil {
		return nil, failed(pam.ErrInvalidInput, err)
	}
	if len(text) > maxPairs {
		return nil, failed(pam.ErrInvalidInput, fmt.Errorf("it is longer than %d MiB", maxPairs>>20))
	}
	var pairs []trustPair
	n := 0
	for line := range strings.Lines(strings.TrimPrefix(string(text), "\ufeff")) { // editors of Windows write it
		n++
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			pairs = append(pairs, trustPair{line, fmt.Sprintf("line %d of %s", n, name)})
		}
	}
	return pairs, nil
}

// alike compares fingerprints. Those of certificates are hexadecimal and are
// written in several ways; those of host keys are not.
func alike(a, b string) bool {
	plain := func(s string) string {
		rest, ok := strings.CutPrefix(strings.ToLower(s), "sha256:")
		if hex := strings.ReplaceAll(rest, ":", ""); ok && len(hex) == 64 && strings.Trim(hex, "0123456789abcdef") == "" {
			return hex
		}
		return s
	}
	return a != "" && plain(a) == plain(b)
}

// accept writes what machines showed into their records, where it is what was
// named, and returns those that were accepted. What another one shows is told.
func (c *call) accept(ctx context.Context, all []discover.Health, named accepted) ([]pam.UID, error) {
	var done []pam.UID
	for _, h := range all {
		want, ok := named[h.Machine]
		server, fingerprint := h.Shown()
		switch {
		case !ok:
			continue
		case server == "":
			c.newsf("%s: nothing to accept: it is trusted already, or was not reached", h.Title)
			continue
		case !alike(want, fingerprint) && !alike(want, server):
			c.newsf("%s: not accepted: it shows %s", h.Title, compared(server, fingerprint))
			continue
		}
		r, err := c.vault.Record(ctx, h.Machine)
		if err != nil {
			return done, err
		}
		label := "hostKey"
		if strings.HasPrefix(server, "sha256:") {
			label = "serverPin"
		}
		r.Fields = merged(r.Fields, pam.Field{Type: "text", Label: label, Custom: true, Values: []string{server}})
		if err := c.vault.UpdateRecord(ctx, r); err != nil {
			return done, err
		}
		c.newsf("%s: accepted: %s", h.Title, compared(server, fingerprint))
		done = append(done, h.Machine)
	}
	return done, nil
}

// compared is what a person compares, and --accept takes: the pin of a certificate,
// the fingerprint of a host key.
func compared(server, fingerprint string) string {
	if strings.HasPrefix(server, "sha256:") || fingerprint == "" {
		return server
	}
	return fingerprint
}
