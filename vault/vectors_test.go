package vault_test

// The stranger of this file is a second implementation: it knows a vault from
// FORMAT.md alone and imports nothing of ours. What it cannot read, the
// document does not describe.

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
	_ "modernc.org/sqlite" // the database driver
)

// A stranger is an unlocked vault.
type stranger struct {
	id    string
	epoch int64
	key   []byte
}

// strangerList is a list of FORMAT.md: each part after its length.
func strangerList(parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		b = append(binary.AppendUvarint(b, uint64(len(p))), p...)
	}
	return b
}

// strangerStep is the length up to which n bytes are filled.
func strangerStep(n int) int {
	for step := 256; ; step *= 2 {
		if n < 16*step {
			return (n + step - 1) / step * step
		}
	}
}

func strangerHMAC(key, message []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(message)
	return mac.Sum(nil)
}

func strangerHKDF(t *testing.T, key []byte, salt, label string) []byte {
	t.Helper()
	b, err := hkdf.Key(sha256.New, key, []byte(salt), label, 32)
	must(t, err)
	return b
}

// strangerOpen opens nonce, ciphertext and tag.
func strangerOpen(t *testing.T, key, blob, ad []byte) []byte {
	t.Helper()
	aead, err := chacha20poly1305.NewX(key)
	must(t, err)
	plain, err := aead.Open(nil, blob[:24], blob[24:], ad)
	must(t, err)
	return plain
}

// strangerFrame takes a plaintext apart.
func strangerFrame(t *testing.T, plain []byte, doc any) (secrets []string) {
	t.Helper()
	r := bytes.NewBuffer(plain)
	number := func() int {
		n, err := binary.ReadUvarint(r)
		must(t, err)
		return int(n)
	}
	must(t, json.Unmarshal(r.Next(number()), doc))
	for range number() {
		secrets = append(secrets, string(r.Next(number())))
	}
	if left := strings.Trim(r.String(), "\x00"); left != "" {
		t.Fatalf("%q is left of a frame", left)
	}
	return secrets
}

// A strangerSlot is a passphrase slot.
type strangerSlot struct {
	Kind    string `json:"kind"`
	KDF     string `json:"kdf"`
	Memory  uint32 `json:"memory"`
	Time    uint32 `json:"time"`
	Threads uint8  `json:"threads"`
	Salt    []byte `json:"salt"`
	Key     []byte `json:"key"`
}

func (s strangerSlot) ad(vault string) []byte {
	return strangerList("keyturn vault 1: passphrase slot", vault, s.KDF, strconv.Itoa(int(s.Memory)), strconv.Itoa(int(s.Time)),
		strconv.Itoa(int(s.Threads)), string(s.Salt))
}

// strangerUnlock reads a header file, gets the key out of its first slot and
// checks the MAC.
func strangerUnlock(t *testing.T, file, passphrase string) stranger {
	t.Helper()
	lines := strings.Split(file, "\n")
	if len(lines) != 4 || lines[0] != "keyturn-vault 1" || lines[3] != "" {
		t.Fatalf("not three lines of format 1: %q", file)
	}
	var h struct {
		Vault string         `json:"vault"`
		Epoch int64          `json:"epoch"`
		Slots []strangerSlot `json:"slots"`
	}
	must(t, json.Unmarshal([]byte(lines[1]), &h))
	slot := h.Slots[0]
	if slot.Kind != "passphrase" || slot.KDF != "argon2id" {
		t.Fatalf("an unknown slot: %+v", slot)
	}
	wrapping := argon2.IDKey([]byte(passphrase), slot.Salt, slot.Time, slot.Memory, slot.Threads, 32)
	s := stranger{id: h.Vault, epoch: h.Epoch, key: strangerOpen(t, wrapping, slot.Key, slot.ad(h.Vault))}
	mac := strangerHMAC(s.sub(t, "header mac"), []byte(lines[0]+"\n"+lines[1]+"\n"))
	if want := "hmac-sha256 " + base64.RawStdEncoding.EncodeToString(mac); lines[2] != want {
		t.Fatalf("the MAC is %s, not %s", lines[2], want)
	}
	return s
}

// sub is the key for one use.
func (s stranger) sub(t *testing.T, use string) []byte {
	t.Helper()
	return strangerHKDF(t, s.key, s.id, "keyturn vault 1: "+use)
}

// open opens a blob of the database into doc and returns the secrets.
func (s stranger) open(t *testing.T, blob []byte, doc any, what string, names ...string) []string {
	t.Helper()
	ad := strangerList(append([]string{"keyturn " + what, "1", s.id}, names...)...)
	return strangerFrame(t, strangerOpen(t, s.sub(t, "rows"), blob, ad), doc)
}

// index is the blind index of a list.
func (s stranger) index(t *testing.T, parts ...string) string {
	t.Helper()
	return base64.RawURLEncoding.EncodeToString(strangerHMAC(s.sub(t, "blind index"), strangerList(parts...))[:16])
}

// A strangerMeta is the document of the meta row, and its two secrets.
type strangerMeta struct {
	Generation int64  `json:"generation"`
	Root       []byte `json:"root"`
	AuditCount int    `json:"audit_count"`
	AuditHead  []byte `json:"audit_head"`

	firstKey, nextKey string
}

func (s stranger) meta(t *testing.T, db *sql.DB) strangerMeta {
	t.Helper()
	var epoch, generation int64
	var sealed []byte
	must(t, db.QueryRow(`SELECT epoch, generation, sealed FROM meta`).Scan(&epoch, &generation, &sealed))
	var m strangerMeta
	secrets := s.open(t, sealed, &m, "meta", strconv.FormatInt(epoch, 10), strconv.FormatInt(generation, 10))
	if epoch != s.epoch || m.Generation != generation || len(secrets) != 2 {
		t.Fatalf("the meta row of epoch %d and generation %d says %+v", epoch, generation, m)
	}
	m.firstKey, m.nextKey = secrets[0], secrets[1]
	return m
}

// manifest returns the revision of each listed row, checked up to the root.
func (s stranger) manifest(t *testing.T, db *sql.DB, root []byte) map[string]int64 {
	t.Helper()
	var hashes []byte
	must(t, db.QueryRow(`SELECT sealed FROM manifest WHERE page = 256`).Scan(&hashes))
	if sum := sha256.Sum256(hashes); len(hashes) != 256*32 || !bytes.Equal(sum[:], root) {
		t.Fatal("the page hashes are not those of the root")
	}
	listed := map[string]int64{}
	for page := range 256 {
		var sealed []byte
		want := hashes[32*page : 32*page+32]
		if bytes.Equal(want, make([]byte, 32)) {
			continue // a page that was never written
		}
		must(t, db.QueryRow(`SELECT sealed FROM manifest WHERE page = ?`, page).Scan(&sealed))
		if sum := sha256.Sum256(sealed); !bytes.Equal(sum[:], want) {
			t.Fatalf("page %d is not the one of the root", page)
		}
		var p struct {
			Rows map[string]int64 `json:"rows"`
		}
		s.open(t, sealed, &p, "manifest", strconv.Itoa(page))
		for entry, revision := range p.Rows {
			part := strings.Split(entry, "/")
			if got := strangerPage(part[1], part[2]); got != page {
				t.Errorf("%s is on page %d, not %d", entry, page, got)
			}
			listed[entry] = revision
		}
	}
	return listed
}

func strangerPage(owner, id string) int {
	if owner == "" {
		owner = id
	}
	return int(sha256.Sum256([]byte(owner))[0])
}

// A strangerRow is an opened row.
type strangerRow struct {
	kind, owner, id string
	doc             map[string]any
	raw             json.RawMessage
	secrets         []string
}

var strangerKinds = strings.Fields(`head body account credential user alias folder gateway configuration rotation resource mapping
	job item step plan deployment audit discovery finding revision trash catalogue`)

// rows opens all rows, and checks those of the listed kinds against the manifest.
func (s stranger) rows(t *testing.T, db *sql.DB, listed map[string]int64) []strangerRow {
	t.Helper()
	found, err := db.Query(`SELECT kind, owner, id, revision, sealed FROM rows ORDER BY kind, owner, id`)
	must(t, err)
	defer func() { _ = found.Close() }()
	var rows []strangerRow
	for found.Next() {
		var r strangerRow
		var kind, revision int64
		var sealed []byte
		must(t, found.Scan(&kind, &r.owner, &r.id, &revision, &sealed))
		r.kind = strangerKinds[kind-1]
		r.secrets = s.open(t, sealed, &r.raw, "row", r.kind, r.owner, r.id, strconv.FormatInt(revision, 10))
		must(t, json.Unmarshal(r.raw, &r.doc))
		rows = append(rows, r)
		if kind > 13 && kind < 21 {
			continue // not listed
		}
		entry := strconv.FormatInt(kind, 10) + "/" + r.owner + "/" + r.id
		if listed[entry] != revision {
			t.Errorf("%s has revision %d, the manifest says %d", entry, revision, listed[entry])
		}
		delete(listed, entry)
	}
	must(t, found.Err())
	for entry := range listed {
		t.Errorf("%s is missing", entry)
	}
	return rows
}

// pick returns the rows of a kind in which a field has that value.
func pick(rows []strangerRow, kind, field string, value any) []strangerRow {
	var picked []strangerRow
	for _, r := range rows {
		if r.kind == kind && (field == "" || r.doc[field] == value) {
			picked = append(picked, r)
		}
	}
	return picked
}

// checkAudit follows the chain of the audit trail.
func (m strangerMeta) checkAudit(t *testing.T, trail []strangerRow) {
	t.Helper()
	key, chain := []byte(m.firstKey), []byte(nil)
	for i, r := range trail {
		var a struct {
			Entry json.RawMessage `json:"entry"`
			Chain []byte          `json:"chain"`
		}
		must(t, json.Unmarshal(r.raw, &a))
		chain = strangerHMAC(key, strangerList(string(chain), string(a.Entry)))
		if !bytes.Equal(chain, a.Chain) {
			t.Errorf("entry %d of the audit trail does not follow", i+1)
		}
		key = strangerHKDF(t, key, "", "keyturn vault 1: audit ratchet")
	}
	if len(trail) != m.AuditCount || !bytes.Equal(chain, m.AuditHead) || string(key) != m.nextKey {
		t.Error("the audit trail does not end as the meta row says")
	}
}

// The vaults in testdata are read from end to end by their description.
func TestAStrangerReadsEveryFormat(t *testing.T) {
	t.Parallel()
	for version, folder := range frozen {
		t.Run(folder, func(t *testing.T) {
			t.Parallel()
			strangerReads(t, folder, version)
		})
	}
}

// So is what a rekey makes of them: another key and epoch, blind indexes of that
// key, and all of it filled up.
func TestAStrangerReadsWhatARekeyMade(t *testing.T) {
	t.Parallel()
	for _, from := range frozen {
		t.Run(from, func(t *testing.T) {
			t.Parallel()
			dir := copyOf(t, from)
			v, err := openAgain(t, dir)
			must(t, err)
			v = rekey(t, v, dir, options(), testPassphrase)
			checkFrozen(t, v)
			must(t, v.Close())
			strangerReads(t, dir, len(frozen))
		})
	}
}

func strangerReads(t *testing.T, folder string, want int) {
	t.Helper()
	header, err := os.ReadFile(folder + "/header")
	must(t, err)
	s := strangerUnlock(t, string(header), "correct horse")
	// Immutable: SQLite makes no files beside it.
	db, err := sql.Open("sqlite", "file:"+folder+"/vault.db?immutable=1")
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	var app, version int
	must(t, db.QueryRow(`PRAGMA application_id`).Scan(&app))
	must(t, db.QueryRow(`PRAGMA user_version`).Scan(&version))
	if app != 0x4b54564c || version != want {
		t.Fatalf("application %x, version %d", app, version)
	}
	if version > 1 {
		strangerMeasures(t, db)
	}
	meta := s.meta(t, db)
	rows := s.rows(t, db, s.manifest(t, db, meta.Root))

	heads := pick(rows, "head", "title", "svc_app")
	if len(heads) != 1 || heads[0].doc["type"] != "pamUser" {
		t.Fatalf("got %+v", heads)
	}
	var account any
	for _, r := range pick(rows, "body", "", nil) {
		if r.id == heads[0].id {
			account = r.doc["account"]
		}
	}
	current := pick(pick(rows, "credential", "account", account), "credential", "status", "current")
	if len(current) != 1 || strings.Join(current[0].secrets, " ") != "second" {
		t.Errorf("the password is %+v", current)
	}
	if alias := pick(rows, "alias", "account", account)[0]; alias.id != s.index(t, "alias", "S-1-5-21-1") {
		t.Errorf("the alias is %+v", alias)
	}
	item := pick(rows, "item", "name", "App")[0]
	machine := pick(rows, "head", "title", "DC01")[0].id
	if item.id != s.index(t, "item", item.owner, machine, "service", "app") {
		t.Errorf("the item is %+v", item)
	}
	meta.checkAudit(t, pick(rows, "audit", "", nil))
}

// strangerMeasures looks whether every blob has a length that tells little.
func strangerMeasures(t *testing.T, db *sql.DB) {
	t.Helper()
	var odd int
	must(t, db.QueryRow(`SELECT count(*) FROM (SELECT sealed FROM rows UNION ALL SELECT sealed FROM meta
		UNION ALL SELECT sealed FROM manifest WHERE page < 256) WHERE (length(sealed) - 40) % 256 <> 0`).Scan(&odd))
	if odd != 0 {
		t.Errorf("%d blobs are not filled up", odd)
	}
}
