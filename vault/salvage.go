package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault/seal"
)

const doingSalvage = "salvage the vault"

// What became of a record of a damaged vault.
const (
	SalvageWhole = "whole"
	SalvagePart  = "part"  // the rest of it is lost
	SalvageTrash = "trash" // it lies in the new vault's trash
	SalvageLost  = "lost"
)

// A SalvagedRecord is a record of a damaged vault.
type SalvagedRecord struct {
	UID   pam.UID  `json:"uid"`
	Title string   `json:"title,omitempty"` // "" when nothing says it
	State string   `json:"state"`
	Lost  []string `json:"lost,omitempty"` // what of it is lost or in doubt, and why
}

// A Salvage says what was read out of a damaged vault and what was not.
type Salvage struct {
	Dir     string           `json:"dir"` // of the new vault
	Records []SalvagedRecord `json:"records"`
	Rows    int              `json:"rows"`           // of all kinds, in the new vault
	Lost    []string         `json:"lost,omitempty"` // what belongs to no record, and why
	// AuditWhole says that the audit trail goes on; else what is left of it begins
	// a new one, and the new vault counts as older wherever the damaged one was seen.
	AuditWhole bool `json:"audit_whole"`
}

// Complete reports whether nothing was lost, and nothing is in doubt.
func (s Salvage) Complete() bool {
	for _, r := range s.Records {
		if len(r.Lost) > 0 {
			return false
		}
	}
	return len(s.Lost) == 0 && s.AuditWhole
}

// SalvageVault makes a vault in out of what a damaged one holds that is proven by
// its key: the same vault, opened by the same slots, in a later state. The
// damaged one is only read, and not by SQLite. Its header must be whole. What is
// not proven to be what was written last is left out, or told of in the result;
// nothing is ever read that another row wrote. ErrIO when nothing at all is
// proven, ErrConflict when out holds a vault.
func SalvageVault(ctx context.Context, dir, out string, key secret.Value, o Options) (Salvage, error) {
	if err := o.check(out); err != nil {
		return Salvage{}, err
	}
	h, err := headerFor(ctx, dir, key)
	if err != nil {
		return Salvage{}, err
	}
	last, err := o.anchorage(key, h.Vault)
	if err != nil {
		return Salvage{}, sealError(doingSalvage, err)
	}
	defer last.key.Destroy()
	w, err := dig(dir, h, key)
	if err != nil {
		return Salvage{}, err
	}
	defer w.close()
	if a := last.read(); a.proven {
		w.generation = max(w.generation, a.Generation)
	}
	header, err := h.Encode(key)
	if err != nil {
		return Salvage{}, sealError(doingSalvage, err)
	}
	unlock, err := prepareDir(out)
	if err != nil {
		return Salvage{}, err
	}
	err = w.build(ctx, out, h, key, o)
	if err == nil {
		if err = publish(out, header); err != nil {
			err = pam.Errorf(pam.ErrIO, doingSalvage+": %w", err)
		}
	}
	if err != nil {
		for _, name := range databaseFiles(databaseFile + newSuffix) {
			_ = os.Remove(filepath.Join(out, name)) // the next attempt would do it too
		}
	}
	w.result.Dir = out
	return w.result, errors.Join(err, unlock())
}

// readDamaged reads a file of a damaged vault; a log that is not there is empty.
func readDamaged(dir, name string) (b []byte, err error) {
	path := filepath.Join(dir, name)
	f, err := openNoFollow(path)
	if errors.Is(err, fs.ErrNotExist) && name != databaseFile {
		return nil, nil
	}
	if err == nil {
		defer f.Close() //nolint:errcheck // only read
		var info fs.FileInfo
		if info, err = f.Stat(); err == nil {
			err = checkInfo(path, info)
		}
	}
	if err == nil {
		b, err = io.ReadAll(io.LimitReader(f, maxBackup))
	}
	if _, typed := errors.AsType[*pam.Error](err); err != nil && !typed {
		err = pam.Errorf(pam.ErrIO, "read the damaged vault: %w; nothing was made", err)
	}
	return b, err
}

// build makes the database of the new vault under its temporary name.
func (w *wreck) build(ctx context.Context, out string, h seal.Header, key secret.Value, o Options) (err error) {
	o.AnchorDir, o.Anchor = "", "" // whether the new vault takes the place of the old one is its owner's decision
	v, err := emptyDatabase(ctx, out, h, key, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	tx, err := v.writer.BeginTx(ctx, nil)
	if err != nil {
		return dbError(ctx, doingSalvage, err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing to do after a commit, nothing to save before it
	t := &txn{v: v, db: tx, pages: map[int]*page{}, index: emptyIndex()}
	for n := range manifestPages {
		t.pages[n] = &page{rows: map[string]int64{}}
	}
	defer func() { t.meta.destroy() }()
	err = w.fill(ctx, t)
	if err == nil {
		err = t.flush(ctx)
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		return dbError(ctx, doingSalvage, err)
	}
	return v.checkpoint(ctx, doingSalvage)
}

// fill puts into a new vault what was saved, and mends what refers to what was lost.
func (w *wreck) fill(ctx context.Context, t *txn) error {
	t.meta = meta{Generation: w.generation, Created: t.v.now().UTC()}
	if w.meta != nil {
		t.meta.Created, t.meta.Fence = w.meta.Created, w.meta.Fence
	}
	for _, r := range w.saved {
		if r.group == groupAlias || r.group == groupCatalogue { // they are made of the accounts and heads
			continue
		}
		if err := t.putBack(ctx, r.row); err != nil {
			return err
		}
	}
	for _, step := range []func(context.Context, *txn) error{
		w.mendAccounts, w.mendRecords, w.mendSettings, w.mendFolders, w.mendJobs, w.mendDiscoveries, w.mendDefaults, w.doubt,
		w.mendAudit,
	} {
		if err := step(ctx, t); err != nil {
			return err
		}
	}
	if err := t.db.QueryRowContext(ctx, `SELECT count(*) FROM rows`).Scan(&w.result.Rows); err != nil {
		return err
	}
	if err := w.report(ctx, t); err != nil {
		return err
	}
	return t.audit(ctx, "vault.salvage", t.v.id, "%s", w.summary())
}

func (w *wreck) summary() string {
	lost := 0
	for _, r := range w.result.Records {
		if r.State == SalvageLost {
			lost++
		}
	}
	return fmt.Sprintf("%d records, %d lost", len(w.result.Records)-lost, lost)
}

// putBack writes a row as it was sealed.
func (t *txn) putBack(ctx context.Context, r row) error {
	s, err := t.statement(ctx, `INSERT INTO rows (kind, owner, id, revision, sealed) VALUES (?, ?, ?, ?, ?)`)
	if err != nil {
		return err
	}
	if _, err := s.ExecContext(ctx, r.group, r.owner, r.id, r.revision, r.sealed); err != nil {
		return err
	}
	return t.list(ctx, r.key, r.revision)
}
