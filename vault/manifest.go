package vault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"strconv"

	"keyturn/vault/seal"
)

// The manifest says which rows there are, so that one that was deleted or put
// back from an older copy is noticed. It is cut into pages: a read checks one,
// a write rewrites one. The hashes of all pages are a row of their own, whose
// hash is the root in the sealed meta row.
const (
	manifestPages = 256
	manifestIndex = manifestPages // the row with the hashes
)

// entry is the name of a row in its page.
func (k key) entry() string { return strconv.Itoa(int(k.group)) + "/" + k.owner + "/" + k.id }

// page keeps what one owner has on one page.
func (k key) page() int {
	anchor := k.owner
	if anchor == "" {
		anchor = k.id
	}
	return int(sha256.Sum256([]byte(anchor))[0])
}

func (v *Vault) pageAD(n int) []byte {
	return seal.AD("keyturn manifest", strconv.Itoa(seal.Version), string(v.id), strconv.Itoa(n))
}

// check compares a row with its manifest entry.
func (t *txn) check(ctx context.Context, r row, found bool) error {
	if !r.group.listed() {
		return nil
	}
	p, err := t.page(ctx, r.page())
	if err != nil {
		return err
	}
	want, listed := p.revision(r.entry())
	return compare(r, found, want, listed)
}

// compare holds a row to its manifest entry.
func compare(r row, found bool, want int64, listed bool) error {
	switch {
	case listed && !found:
		return tampered("%s is missing", r.key)
	case !listed && found:
		return tampered("%s does not belong there", r.key)
	case found && r.revision != want:
		return tampered("%s has revision %d instead of %d", r.key, r.revision, want)
	}
	return nil
}

// page returns a page of the manifest, checked against the root.
func (t *txn) page(ctx context.Context, n int) (*page, error) {
	if p := t.pages[n]; p != nil {
		return p, nil
	}
	var sealed []byte
	err := t.db.QueryRowContext(ctx, `SELECT sealed FROM manifest WHERE page = ?`, n).Scan(&sealed)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	if err := t.loadIndex(ctx); err != nil {
		return nil, err
	}
	p, err := t.openPage(n, sealed)
	if err == nil {
		t.pages[n] = p
	}
	return p, err
}

// eachPage calls fn with every page. A reading transaction forgets them again:
// together they are as large as all UIDs of the vault.
func (t *txn) eachPage(ctx context.Context, fn func(n int, p *page)) error {
	if err := t.loadIndex(ctx); err != nil {
		return err
	}
	var seen [manifestPages]bool
	visit := func(n int, sealed []byte) error {
		seen[n] = true
		p, err := t.pageOf(n, sealed)
		if err == nil {
			fn(n, p)
		}
		return err
	}
	if err := t.sealedPages(ctx, visit); err != nil {
		return err
	}
	for n := range manifestPages {
		if seen[n] {
			continue
		}
		if err := visit(n, nil); err != nil {
			return err
		}
	}
	return nil
}

// sealedPages calls fn with the pages that there are, in one go; the bytes are for
// the call only.
func (t *txn) sealedPages(ctx context.Context, fn func(n int, sealed []byte) error) (err error) {
	rs, err := t.db.QueryContext(ctx, `SELECT page, sealed FROM manifest WHERE page BETWEEN 0 AND ?`, manifestPages-1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rs.Close()) }()
	for rs.Next() {
		var n int
		var sealed sql.RawBytes
		if err := rs.Scan(&n, &sealed); err != nil {
			return err
		}
		if err := fn(n, sealed); err != nil {
			return err
		}
	}
	return rs.Err()
}

// pageOf is a page that may be changed already, else what is sealed.
func (t *txn) pageOf(n int, sealed []byte) (*page, error) {
	if p := t.pages[n]; p != nil {
		return p, nil
	}
	p, err := t.openPage(n, sealed)
	if err == nil && t.writes {
		t.pages[n] = p
	}
	return p, err
}

// openPage opens a page of the manifest, once the index is there to check it with.
func (t *txn) openPage(n int, sealed []byte) (*page, error) {
	want := t.pageHash(n)
	if sealed == nil && bytes.Equal(want, make([]byte, sha256.Size)) {
		return &page{rows: map[string]int64{}}, nil
	}
	if sum := sha256.Sum256(sealed); !bytes.Equal(sum[:], want) {
		return nil, tampered("page %d of the manifest is not the newest", n)
	}
	plain, err := t.v.box.Open(sealed, t.v.pageAD(n))
	if err != nil {
		return nil, sealError("manifest", err)
	}
	p, err := readPage(plain)
	if err != nil {
		return nil, tampered("page %d of the manifest: %w", n, err)
	}
	return p, nil
}

func (t *txn) pageHash(n int) []byte { return t.index[n*sha256.Size : (n+1)*sha256.Size] }

// loadIndex reads the hashes of all pages and checks them against the root.
func (t *txn) loadIndex(ctx context.Context) error {
	if t.index != nil {
		return nil
	}
	var b []byte
	err := t.db.QueryRowContext(ctx, `SELECT sealed FROM manifest WHERE page = ?`, manifestIndex).Scan(&b)
	if errors.Is(err, sql.ErrNoRows) {
		return tampered("the manifest is missing")
	}
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	if len(b) != manifestPages*sha256.Size || !bytes.Equal(sum[:], t.meta.Root) {
		return tampered("the manifest is not the newest")
	}
	t.index = b
	return nil
}

// list notes a row's revision in the manifest; revision 0 takes it off.
func (t *txn) list(ctx context.Context, k key, revision int64) error {
	if !k.group.listed() {
		return nil
	}
	p, err := t.page(ctx, k.page())
	if err != nil {
		return err
	}
	p.set(k.entry(), revision)
	t.changed = true
	return nil
}

// flush writes the pages that changed and the meta row.
func (t *txn) flush(ctx context.Context) error {
	if err := t.flushCatalogue(ctx); err != nil {
		return err
	}
	if !t.changed {
		return nil
	}
	dirty := false
	for n, p := range t.pages {
		if !p.dirty {
			continue
		}
		dirty = true
		if err := t.writePage(ctx, n, p); err != nil {
			return err
		}
	}
	if dirty {
		if err := t.writeManifest(ctx, manifestIndex, t.index); err != nil {
			return err
		}
		sum := sha256.Sum256(t.index)
		t.meta.Root = sum[:]
	}
	return t.writeMeta(ctx)
}

func (t *txn) writePage(ctx context.Context, n int, p *page) error {
	plain, err := encodeFrame(pageDocument{p.entries()}, nil)
	if err != nil {
		return err
	}
	sealed, err := t.v.box.Seal(t.v.random, plain, t.v.pageAD(n))
	if err != nil {
		return sealError("manifest", err)
	}
	sum := sha256.Sum256(sealed)
	copy(t.pageHash(n), sum[:])
	return t.writeManifest(ctx, n, sealed)
}

func (t *txn) writeManifest(ctx context.Context, n int, b []byte) error {
	_, err := t.db.ExecContext(ctx, `INSERT INTO manifest (page, sealed) VALUES (?, ?)
		ON CONFLICT (page) DO UPDATE SET sealed = excluded.sealed`, n, b)
	return err
}
