// Package vault is the local encrypted store: records, folders, credentials by
// account and generation, mappings, deployments, jobs with items and steps, and
// the audit trail. Rows are sealed one by one; the files show their kinds,
// opaque ids, revisions and sizes only (FORMAT.md).
//
// It never reaches out to a target and knows no command line.
package vault

import (
	"context"
	"database/sql"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault/seal"
)

// Options are what a caller may choose when it creates or opens a vault.
type Options struct {
	KDFMemory uint32           // KiB of argon2id for a new passphrase slot; 0 is the default
	Now       func() time.Time // the clock; required
	Random    io.Reader        // crypto/rand.Reader outside tests; required
	Actor     string           // who is named in the audit trail
	// Network allows a folder on a network file system.
	Network bool
	// AnchorDir is a folder outside of the vault's, where it is noted which state
	// of the vault was seen last; "" notes none.
	AnchorDir string
	// Anchor is a file to note it in, in place of one in AnchorDir; "" names none. It
	// is made when it is missing, and left alone when it is something else.
	Anchor string
}

// A Vault is an open vault. It is safe for concurrent use.
type Vault struct {
	dir   string // absolute
	id    pam.UID
	epoch int64
	slots []string

	box    *seal.Box
	writer *sql.DB
	reader *sql.DB
	seen   atomic.Int64 // the newest generation of the meta row this process saw
	older  atomic.Bool  // the database is of an earlier version, until it is written
	// unclean says that pages of a former key may still be in the files.
	unclean atomic.Bool
	// impatient says that a turn to write was waited for in vain.
	impatient atomic.Bool

	anchorage anchorage
	firstSeen bool
	behind    error // why this copy is open for reading only; nil when it is the newest

	now    func() time.Time
	random io.Reader
	actor  string
}

// Key returns a copy of the vault key, for a job runner's pipe.
func (v *Vault) Key() secret.Value { return v.box.Key() }

// Info describes a vault for whoami.
type Info struct {
	ID      pam.UID   `json:"vault_id"`
	Dir     string    `json:"dir"`
	Format  int       `json:"format"`
	Created time.Time `json:"created"`
	Records int       `json:"records"`
	Slots   []string  `json:"slots"` // kinds of key slots: "passphrase"
}

// Info returns what whoami shows.
func (v *Vault) Info(ctx context.Context) (Info, error) {
	info := Info{ID: v.id, Dir: v.dir, Format: seal.Version, Slots: slices.Clone(v.slots)}
	err := v.view(ctx, func(t *txn) error {
		info.Created = t.meta.Created
		return t.each(ctx, groupHead, every, func(int) {}, func(row) error {
			info.Records++
			return nil
		})
	})
	return info, err
}
