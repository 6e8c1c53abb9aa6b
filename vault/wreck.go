package vault

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault/carve"
	"keyturn/vault/seal"
)

// A wreck is a damaged vault: what was carved out of its files, and what of that
// its key proves.
type wreck struct {
	v     *Vault // no database: for keys and associated data
	rows  map[key][]row
	lists map[int][][]byte // pages of the manifest, and its hashes
	metas []sealedMeta

	meta       *meta // nil when no meta row is proven
	pages      map[int]*wreckPage
	generation int64 // the highest that shows

	saved  []savedRow
	losses map[key]string // why a row is lost, or its newest state is
	result Salvage
}

type sealedMeta struct {
	epoch, generation int64
	sealed            []byte
}

// A wreckPage is a page of the manifest; proven when it is the newest.
type wreckPage struct {
	page
	proven bool
}

// A savedRow is a row that the key proves; doubt says why it may not be the newest.
type savedRow struct {
	row
	doubt string
}

const (
	whyDamaged = "its sealed bytes are damaged, or belong elsewhere"
	whyMissing = "it is not in the file any more"
	whyOlder   = "only an older state of it is left"
	whyDoubt   = "whether this is its newest state cannot be told"
)

// dig reads a damaged vault's files.
func dig(dir string, h seal.Header, k secret.Value) (*wreck, error) {
	database, err := readDamaged(dir, databaseFile)
	if err != nil {
		return nil, err
	}
	log, err := readDamaged(dir, databaseFile+"-wal")
	if err != nil {
		return nil, err
	}
	box, err := seal.NewBox(k, h.Vault)
	if err != nil {
		return nil, sealError(doingSalvage, err)
	}
	w := &wreck{
		v: &Vault{id: pam.UID(h.Vault), epoch: h.Epoch, box: box}, rows: map[key][]row{}, lists: map[int][][]byte{},
		pages: map[int]*wreckPage{}, losses: map[key]string{},
	}
	carve.Read(database, log, w.carved)
	w.readMeta()
	w.readLists()
	w.choose()
	if len(w.saved) == 0 {
		w.close()
		return nil, pam.Errorf(pam.ErrIO, "nothing in %s is proven by this vault's key; nothing was made", databaseFile).
			WithHint("restore the vault from a backup")
	}
	return w, nil
}

func (w *wreck) close() {
	w.v.box.Destroy()
	if w.meta != nil {
		w.meta.destroy()
	}
}

// carved sorts what was carved by what it looks like.
func (w *wreck) carved(r carve.Row) {
	switch len(r.Values) {
	case 5:
		w.carvedRow(r)
	case 4:
		epoch, ok1 := r.Values[1].(int64)
		generation, ok2 := r.Values[2].(int64)
		sealed, ok3 := r.Values[3].([]byte)
		if ok1 && ok2 && ok3 {
			w.metas = append(w.metas, sealedMeta{epoch, generation, sealed})
		}
	case 2:
		if sealed, ok := r.Values[1].([]byte); ok && r.Rowid >= 0 && r.Rowid <= manifestIndex {
			w.lists[int(r.Rowid)] = append(w.lists[int(r.Rowid)], sealed)
		}
	}
}

func (w *wreck) carvedRow(r carve.Row) {
	kind, ok1 := r.Values[0].(int64)
	owner, ok2 := r.Values[1].(string)
	id, ok3 := r.Values[2].(string)
	revision, ok4 := r.Values[3].(int64)
	sealed, ok5 := r.Values[4].([]byte)
	whole := ok1 && ok2 && ok3 && ok4 && ok5
	if !whole || kind < int64(groupHead) || kind > int64(lastGroup) {
		return
	}
	k := key{group(kind), owner, id}
	same := func(other row) bool { return other.revision == revision && bytes.Equal(other.sealed, sealed) }
	if !slices.ContainsFunc(w.rows[k], same) {
		w.rows[k] = append(w.rows[k], row{k, revision, sealed})
	}
}

// readMeta finds the newest meta row that the key proves.
func (w *wreck) readMeta() {
	slices.SortFunc(w.metas, func(a, b sealedMeta) int { return cmp.Compare(b.generation, a.generation) })
	for _, s := range w.metas {
		if s.epoch != w.v.epoch {
			continue
		}
		plain, err := w.v.box.Open(s.sealed, w.v.metaAD(s.generation))
		if err != nil {
			continue
		}
		var m meta
		secrets, err := decodeFrame(plain, &m)
		clear(plain)
		if err != nil || len(secrets) != 2 || m.Generation != s.generation {
			destroy(secrets)
			continue
		}
		m.auditRoot, m.auditKey = secrets[0], secrets[1]
		w.meta, w.generation = &m, m.Generation
		return
	}
}

// readLists opens the pages of the manifest. Those that the meta row does not
// vouch for still tell of rows that there were.
func (w *wreck) readLists() {
	var index []byte
	for _, b := range w.lists[manifestIndex] {
		sum := sha256.Sum256(b)
		if w.meta != nil && len(b) == manifestPages*sha256.Size && bytes.Equal(sum[:], w.meta.Root) {
			index = b
		}
	}
	for n := range manifestPages {
		var want []byte
		if index != nil {
			want = index[n*sha256.Size : (n+1)*sha256.Size]
		}
		if bytes.Equal(want, make([]byte, sha256.Size)) {
			w.pages[n] = &wreckPage{proven: true} // never written
			continue
		}
		for _, b := range w.lists[n] {
			w.readList(n, b, want)
		}
	}
}

func (w *wreck) readList(n int, sealed, want []byte) {
	plain, err := w.v.box.Open(sealed, w.v.pageAD(n))
	if err != nil {
		return
	}
	list, err := readPage(plain)
	if err != nil {
		return
	}
	p := &wreckPage{page: *list}
	sum := sha256.Sum256(sealed)
	p.proven = bytes.Equal(want, sum[:])
	if old := w.pages[n]; old == nil || !old.proven {
		w.pages[n] = p
	}
}

// choose decides of every row whether it is saved.
func (w *wreck) choose() {
	for k, states := range w.rows {
		w.chooseRow(k, w.proven(states))
	}
	for _, p := range w.pages {
		for entry, revision := range p.entries() {
			k, ok := parseEntry(entry)
			if _, carved := w.rows[k]; ok && !carved {
				w.losses[k] = whyMissing
			}
			w.generation = max(w.generation, revision)
		}
	}
	slices.SortFunc(w.saved, func(a, b savedRow) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.owner, b.owner), cmp.Compare(a.id, b.id))
	})
}

// proven returns the states of a row that the key proves, the newest first.
func (w *wreck) proven(states []row) []row {
	var proven []row
	for _, r := range states {
		var doc json.RawMessage
		if secrets, err := w.open(r, &doc); err == nil {
			destroy(secrets)
			proven = append(proven, r)
			w.generation = max(w.generation, r.revision)
		}
	}
	slices.SortFunc(proven, func(a, b row) int { return cmp.Compare(b.revision, a.revision) })
	return proven
}

func (w *wreck) chooseRow(k key, proven []row) {
	p := w.pages[k.page()]
	want, listed := int64(0), false
	if p != nil {
		want, listed = p.revision(k.entry())
	}
	if k.group.listed() && p != nil && p.proven && !listed {
		return // it was deleted, or its name is not what it was
	}
	if len(proven) == 0 {
		w.losses[k] = whyDamaged
		return
	}
	r := savedRow{row: proven[0]}
	if at := slices.IndexFunc(proven, func(r row) bool { return r.revision == want }); listed && at >= 0 {
		r.row = proven[at]
	}
	if k.group.listed() {
		r.doubt = p.doubt(r.revision == want)
	}
	w.saved = append(w.saved, r)
}

// doubt says why a row on the page may not be the newest; "" when it is.
func (p *wreckPage) doubt(listed bool) string {
	switch {
	case p == nil || !p.proven:
		return whyDoubt
	case !listed:
		return whyOlder
	}
	return ""
}

// open decrypts a row. The caller destroys the secrets.
func (w *wreck) open(r row, doc any) ([]secret.Value, error) {
	plain, err := w.v.box.Open(r.sealed, w.v.ad(r))
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	return decodeFrame(plain, doc)
}

// parseEntry is the reverse of [key.entry].
func parseEntry(entry string) (key, bool) {
	parts := strings.SplitN(entry, "/", 3)
	if len(parts) != 3 {
		return key{}, false
	}
	kind, err := strconv.Atoi(parts[0])
	g := group(kind)
	return key{g, parts[1], parts[2]}, err == nil && g >= groupHead && g <= lastGroup
}

// each calls do with the saved rows of a group.
func (w *wreck) each(g group, do func(savedRow) error) error {
	for _, r := range w.saved {
		if r.group != g {
			continue
		}
		if err := do(r); err != nil {
			return err
		}
	}
	return nil
}
