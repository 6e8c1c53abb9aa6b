package vault

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault/seal"
)

// A meta is the one row that stands for the vault as a whole. Every change of
// listed rows rewrites it.
type meta struct {
	Generation int64     `json:"generation"` // grows by one with each change
	Root       []byte    `json:"root"`       // hash of the manifest's page hashes
	Created    time.Time `json:"created"`
	Fence      int64     `json:"fence"`       // highest ever given to a job
	AuditCount int64     `json:"audit_count"` // entries
	AuditHead  []byte    `json:"audit_head"`  // chain value of the last one
	// Unsettled are the jobs that are not at a good end, so that they are found
	// without reading all.
	Unsettled []pam.UID `json:"unsettled,omitempty"`
	// Scrub says that pages of a former key may still be in the files.
	Scrub bool `json:"scrub,omitempty"`

	// Catalogue chooses the shelf of a title; empty while there is no catalogue.
	Catalogue []byte `json:"catalogue,omitempty"`

	auditRoot secret.Value // key of the first entry, for VerifyAudit
	auditKey  secret.Value // key of the next entry
}

func (m *meta) destroy() {
	m.auditRoot.Destroy()
	m.auditKey.Destroy()
}

func (v *Vault) metaAD(generation int64) []byte {
	return seal.AD("keyturn meta", strconv.Itoa(seal.Version), string(v.id), strconv.FormatInt(v.epoch, 10),
		strconv.FormatInt(generation, 10))
}

// readMeta reads the meta row, and refuses a database that is sealed with
// another key or older than what this process has seen.
func (t *txn) readMeta(ctx context.Context, seen int64) error {
	var epoch, generation int64
	var sealed []byte
	err := t.db.QueryRowContext(ctx, `SELECT epoch, generation, sealed FROM meta WHERE id = 1`).Scan(&epoch, &generation, &sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return tampered("its meta row is missing")
	}
	if err != nil {
		return err
	}
	if epoch != t.v.epoch {
		return errReplaced()
	}
	plain, err := t.v.box.Open(sealed, t.v.metaAD(generation))
	if err != nil {
		return sealError("meta row", err)
	}
	defer clear(plain)
	secrets, err := decodeFrame(plain, &t.meta)
	if err != nil || len(secrets) != 2 || t.meta.Generation != generation {
		destroy(secrets)
		return tampered("its meta row has an unknown layout")
	}
	t.meta.auditRoot, t.meta.auditKey = secrets[0], secrets[1]
	if generation < seen {
		return tampered("it is older than a moment ago (state %d after %d)", generation, seen)
	}
	return nil
}

func (t *txn) writeMeta(ctx context.Context) error {
	t.meta.Generation = t.next()
	plain, err := encodeFrame(t.meta, []secret.Value{t.meta.auditRoot, t.meta.auditKey})
	if err != nil {
		return err
	}
	defer clear(plain)
	sealed, err := t.v.box.Seal(t.v.random, plain, t.v.metaAD(t.meta.Generation))
	if err != nil {
		return sealError("meta row", err)
	}
	_, err = t.db.ExecContext(ctx, `INSERT INTO meta (id, epoch, generation, sealed) VALUES (1, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, generation = excluded.generation, sealed = excluded.sealed`,
		t.v.epoch, t.meta.Generation, sealed)
	return err
}
