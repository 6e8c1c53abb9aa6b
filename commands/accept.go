package commands

import (
	"bufio"
	"context"
	"io"
	"os"
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

// accepting reads MACHINE=FINGERPRINT pairs, and files of them, one a line. Each
// names a machine of the scope: a slip of the pen must not trust another one.
func (c *call) accepting(ctx context.Context, s scope, args []string) (accepted, error) {
	all := accepted{}
	for _, arg := range args {
		pairs := []string{arg}
		if file, ok := strings.CutPrefix(arg, "@"); ok {
			var err error
			if pairs, err = c.pairs(file); err != nil {
				return nil, err
			}
		}
		for _, pair := range pairs {
			at := strings.LastIndex(pair, "=") // a title may hold one, a fingerprint does not
			if at < 1 || at == len(pair)-1 {
				return nil, usagef("argument --accept: %q is not MACHINE=FINGERPRINT; nothing was accepted", pair)
			}
			m, err := c.find(ctx, strings.TrimSpace(pair[:at]))
			if err != nil {
				return nil, err
			}
			if !slices.Contains(s.uids(), m.UID) {
				return nil, usagef("argument --accept: %s is not among the machines of %s; nothing was accepted",
					titled(m.Title, m.UID), s.words)
			}
			fingerprint := strings.TrimSpace(pair[at+1:])
			if old, ok := all[m.UID]; ok && !alike(old, fingerprint) {
				return nil, usagef("argument --accept: %s has two fingerprints; nothing was accepted", titled(m.Title, m.UID))
			}
			all[m.UID] = fingerprint
		}
	}
	return all, nil
}

// pairs reads a file of pairs; empty lines and those that begin with # say nothing.
func (c *call) pairs(name string) ([]string, error) {
	path, err := c.path(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path) //nolint:gosec // the user names the file
	if err != nil {
		return nil, pam.Errorf(pam.ErrInvalidInput, "argument --accept: %s: %w; nothing was accepted", name, cause(err))
	}
	defer f.Close() //nolint:errcheck // only read
	var pairs []string
	lines := bufio.NewScanner(io.LimitReader(f, maxPairs))
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" && !strings.HasPrefix(line, "#") {
			pairs = append(pairs, line)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, pam.Errorf(pam.ErrInvalidInput, "argument --accept: %s: %w; nothing was accepted", name, err)
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
