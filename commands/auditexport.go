package commands

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"keyturn/pkg/pam"
	"keyturn/vault"
)

// maxAuditLine bounds a line of an export.
const maxAuditLine = 1 << 20

// compareExport holds the audit trail to an export of it in JSON Lines, which was
// kept where who has the vault key could not change it, and returns how many
// entries that has.
func (c *call) compareExport(ctx context.Context, name string, trail []vault.AuditEntry) (n int, err error) {
	f, err := c.open(ctx, name)
	if err != nil {
		return 0, pam.Errorf(unreadable(pam.ErrInvalidInput, err), "read the export: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxAuditLine)
	at := 1
	for ; lines.Scan(); at++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var e vault.AuditEntry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Number < 1 {
			return 0, noEntry(name, at)
		}
		if err := compareEntry(e, trail); err != nil {
			return 0, err
		}
		n++
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return 0, noEntry(name, at)
	} else if err != nil {
		return 0, pam.Errorf(unreadable(pam.ErrInvalidInput, err), "read the export: %w", err)
	}
	if n == 0 {
		return 0, pam.Errorf(pam.ErrInvalidInput, "%s has no entries", name)
	}
	return n, nil
}

func noEntry(name string, line int) error {
	return pam.Errorf(pam.ErrInvalidInput, "line %d of %s is no entry of an audit trail", line, name).
		WithHint("keyturn audit export --as jsonl writes what this command reads")
}

// compareEntry looks for an exported entry in the trail, whose numbers have no gaps.
func compareEntry(e vault.AuditEntry, trail []vault.AuditEntry) error {
	what := "was changed since"
	if e.Number <= int64(len(trail)) {
		now := trail[e.Number-1]
		if same := e.At.Equal(now.At); same {
			e.At = now.At
		}
		if e == now {
			return nil
		}
	} else {
		what = "is missing"
	}
	return pam.Errorf(pam.ErrDenied, "audit entry %d, which the export has, %s: the trail was made anew", e.Number, what).
		WithHint("who did it has the vault's key, or this is another copy of the vault; look at its backups")
}
