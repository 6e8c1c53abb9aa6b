package vault_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"keyturn/pkg/pam"
	"keyturn/vault"
	"keyturn/vault/carve"
)

// salvage makes a vault of a damaged one and opens it.
func salvage(t *testing.T, dir string, o vault.Options) (vault.Salvage, *vault.Vault) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "salvaged")
	before := snapshot(t, dir)
	key, err := vault.UnlockKey(t.Context(), dir, word(testPassphrase))
	must(t, err)
	s, err := vault.SalvageVault(t.Context(), dir, out, key, o)
	must(t, err)
	if !equalMaps(before, snapshot(t, dir)) {
		t.Error("the damaged vault was touched")
	}
	v, err := vault.Open(t.Context(), out, key, o)
	must(t, err)
	t.Cleanup(func() { _ = v.Close() })
	return s, v
}

// record finds what became of a record.
func became(s vault.Salvage, uid pam.UID) vault.SalvagedRecord {
	i := slices.IndexFunc(s.Records, func(r vault.SalvagedRecord) bool { return r.UID == uid })
	if i < 0 {
		return vault.SalvagedRecord{}
	}
	return s.Records[i]
}

func TestASalvageOfAWholeVaultLosesNothing(t *testing.T) {
	t.Parallel()
	o := options()
	o.AnchorDir = filepath.Join(t.TempDir(), "anchors")
	v, dir, user := filled(t, o)
	before := everything(t, v)
	trail, err := v.Audit(t.Context())
	must(t, err)
	s, again := salvage(t, dir, o) // with much of it in the log
	if !s.Complete() || len(s.Records) != 3 || became(s, user).State != vault.SalvageWhole {
		t.Errorf("got %+v", s)
	}
	if now := everything(t, again); now != before {
		t.Errorf("before %s\nafter %s", before, now)
	}
	if again.FirstSeen() {
		t.Error("it is not a later state of the damaged one")
	}
	longer, err := again.Audit(t.Context())
	must(t, err)
	last := longer[len(longer)-1]
	if len(longer) != len(trail)+1 || last.Action != "vault.salvage" || last.Detail != "3 records, 0 lost" {
		t.Errorf("the trail ends with %+v", last)
	}
	_, err = again.Check(t.Context())
	must(t, err)
	must(t, v.Close())
	for version, from := range frozen {
		dir := copyOf(t, from)
		s, again := salvage(t, dir, options())
		if !s.Complete() {
			t.Errorf("version %d: got %+v", version, s)
		}
		checkFrozen(t, again)
	}
}

// What is done to a vault, what is told of it, and what is there all the same.
func TestASalvageSaysWhatIsLostAndWhy(t *testing.T) {
	t.Parallel()
	const damaged, missing = "its sealed bytes are damaged, or belong elsewhere", "it is not in the file any more"
	for name, c := range map[string]struct {
		change   string
		state    string   // of the user
		lost     []string // of it
		others   string   // in what belongs to no record
		password string
	}{
		"the title is damaged": {
			`UPDATE rows SET sealed = zeroblob(300) WHERE kind = 1 AND id = :user`, vault.SalvagePart, []string{"title: " + damaged}, "", "second",
		},
		"the title is gone": {
			`DELETE FROM rows WHERE kind = 1 AND id = :user`, vault.SalvagePart, []string{"title: " + missing}, "", "second",
		},
		"the fields are gone": {
			`DELETE FROM rows WHERE kind = 2 AND id = :user`, vault.SalvagePart, []string{"fields: " + missing}, "", "second",
		},
		"the record is gone but for its former revisions": {
			`DELETE FROM rows WHERE kind < 3 AND id = :user`, vault.SalvageTrash, []string{"fields, title: " + missing}, "", "",
		},
		"the record is gone": {
			`DELETE FROM rows WHERE kind IN (1, 2, 21) AND :user IN (id, owner)`, vault.SalvageLost,
			[]string{"fields, revision ", "what it belongs to is lost"},
			"", "",
		},
		"the newest password is damaged": {
			`UPDATE rows SET sealed = zeroblob(512) WHERE kind = 4 AND id = '000000000002'`, vault.SalvagePart,
			[]string{"password 2: " + damaged},
			"", "",
		},
		"the account is gone": {
			`DELETE FROM rows WHERE kind = 3`, vault.SalvagePart, []string{"account: " + missing}, "", "second",
		},
		"who names the account is gone": {`DELETE FROM rows WHERE kind = 5`, vault.SalvageWhole, nil, "", "second"},
		"a password stands in the place of another": {
			`UPDATE rows SET sealed = (SELECT r.sealed FROM rows r WHERE r.kind = 4 AND r.id <> rows.id AND r.owner = rows.owner)
				WHERE kind = 4 AND owner = :account AND id = '000000000002'`,
			vault.SalvagePart,
			[]string{"password 2: " + damaged},
			"", "",
		},
		"a password is another account's": {
			`UPDATE rows SET owner = 'AAAAAAAAAAAAAAAAAAAAAA' WHERE kind = 4 AND id = '000000000002'`, vault.SalvagePart,
			[]string{"password 2: " + missing},
			"", "",
		},
		"a job is gone": {`DELETE FROM rows WHERE kind = 13`, vault.SalvageWhole, nil, "job ", "second"},
		"the row that vouches for all is gone": {
			`DELETE FROM meta`, vault.SalvagePart, []string{"whether this is its newest state cannot be told"}, "vouches for all others", "second",
		},
		"the list of pages is gone": {
			`DELETE FROM manifest WHERE page = 256`, vault.SalvagePart, []string{"cannot be told"}, "the list of all rows", "second",
		},
		"all lists are gone": {
			`DELETE FROM manifest`, vault.SalvagePart, []string{"cannot be told"}, "the list of all rows", "second",
		},
		"an audit entry is gone":        {`DELETE FROM rows WHERE kind = 18 AND id = '000000000003'`, vault.SalvageWhole, nil, "audit trail", "second"},
		"gateway and configuration are": {`DELETE FROM rows WHERE kind IN (8, 9)`, vault.SalvageWhole, nil, "gateway", "second"},
		"the tables are gone":           {`DROP INDEX rows_by_id`, vault.SalvageWhole, nil, "", "second"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, dir, user := filled(t, options())
			_, a, err := v.User(t.Context(), user)
			must(t, err)
			must(t, v.Close())
			b := &bench{dir: dir}
			b.sql(t, func(db *sql.DB) {
				_, err := db.Exec(c.change, sql.Named("user", user), sql.Named("account", a.UID))
				must(t, err)
			})
			s, again := salvage(t, dir, options())
			got := became(s, user)
			if text := strings.Join(got.Lost, "; "); got.State != c.state || len(c.lost) == 0 && text != "" {
				t.Errorf("the user is %s: %s", got.State, text)
			} else {
				for _, want := range c.lost {
					if !strings.Contains(text, want) {
						t.Errorf("what is told of the user, %q, does not say %q", text, want)
					}
				}
			}
			if others := strings.Join(s.Lost, "; "); !strings.Contains(others, c.others) || c.others == "" && others != "" {
				t.Errorf("of the others it tells %q", others)
			}
			if whole := c.lost == nil && c.others == ""; s.Complete() != whole {
				t.Errorf("complete: %t", s.Complete())
			}
			checkSalvaged(t, again)
			if c.state == vault.SalvageWhole || c.state == vault.SalvagePart {
				if got := passwordOf(t, again, user); got != c.password {
					t.Errorf("the password is %q", got)
				}
			}
		})
	}
}

// checkSalvaged looks whether a vault is sound, and every record can be read,
// changed, moved to the trash and restored.
func checkSalvaged(t *testing.T, v *vault.Vault) {
	t.Helper()
	ctx := t.Context()
	_, err := v.Check(ctx)
	must(t, err)
	heads, err := v.Heads(ctx)
	must(t, err)
	trash, err := v.Trash(ctx)
	must(t, err)
	everything(t, v)
	for _, h := range heads {
		r, err := v.Record(ctx, h.UID)
		must(t, err)
		r.Notes += "x"
		must(t, v.UpdateRecord(ctx, r))
		must(t, v.DeleteRecord(ctx, h.UID))
		_, err = v.RestoreRecord(ctx, h.UID)
		must(t, err)
	}
	for _, d := range trash {
		_, err = v.RestoreRecord(ctx, d.UID)
		must(t, err)
	}
	known, err := v.KnownDependencies(ctx)
	must(t, err)
	_ = known
	add(t, v, userRecord("new", "new", "new"))
	_, err = v.Check(ctx)
	must(t, err)
}

func TestAnOlderRowIsToldOf(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	v, err := openAgain(t, b.dir)
	must(t, err)
	r, err := v.Record(t.Context(), b.user)
	must(t, err)
	var sealed []byte
	var revision int64
	b.sql(t, func(db *sql.DB) {
		must(t, db.QueryRow(`SELECT sealed, revision FROM rows WHERE kind = 2 AND id = ?`, b.user).Scan(&sealed, &revision))
	})
	r.Notes = "newer"
	must(t, v.UpdateRecord(t.Context(), r))
	must(t, v.Close())
	b.sql(t, func(db *sql.DB) {
		_, err := db.Exec(`UPDATE rows SET sealed = ?, revision = ? WHERE kind = 2 AND id = ?`, sealed, revision, b.user)
		must(t, err)
	})
	s, again := salvage(t, b.dir, options())
	if got := strings.Join(became(s, b.user).Lost, "; "); !strings.Contains(got, "fields: only an older state of it is left") {
		t.Errorf("it tells %q", got)
	}
	checkSalvaged(t, again)
}

func TestWhatHoldsNothingMakesNoVault(t *testing.T) {
	t.Parallel()
	v, dir, _ := filled(t, options())
	key := v.Key()
	must(t, v.Close())
	out := filepath.Join(t.TempDir(), "out")
	_, err := vault.SalvageVault(t.Context(), dir, out, word("another key of 32 bytes, is it...."), options())
	wants(t, err, pam.ErrLocked)
	path := filepath.Join(dir, "vault.db")
	must(t, os.WriteFile(path, bytes.Repeat([]byte{0x0d}, 100_000), 0o600))
	_, err = vault.SalvageVault(t.Context(), dir, out, key, options())
	wants(t, err, pam.ErrIO, "nothing in vault.db is proven", "nothing was made", "backup")
	must(t, os.Remove(path))
	_, err = vault.SalvageVault(t.Context(), dir, out, key, options())
	wants(t, err, pam.ErrIO, "nothing was made")
	if vault.Exists(out) {
		t.Error("a vault was made")
	}
	other, kept, _ := filled(t, options())
	_, err = vault.SalvageVault(t.Context(), kept, kept, other.Key(), options())
	wants(t, err, pam.ErrConflict, "there is a vault in")
}

// rowsOf returns the rows of a file as text, without SQLite.
func rowsOf(database []byte) map[string]bool {
	rows := map[string]bool{}
	carve.Read(database, nil, func(r carve.Row) {
		if len(r.Values) == 5 {
			rows[rowText(r.Values)] = true
		}
	})
	return rows
}

func rowText(values []any) string { return fmt.Sprintf("%v", values) }

// damage changes a file somehow.
func damage(t *rapid.T, whole []byte) []byte {
	b := bytes.Clone(whole)
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	for range rapid.IntRange(1, 12).Draw(t, "damages") {
		if len(b) < 8192 {
			break
		}
		at := r.IntN(len(b) - 4096)
		page, other := at/4096*4096, r.IntN(len(b)/4096)*4096
		switch rapid.IntRange(0, 6).Draw(t, "kind") {
		case 0: // a bit
			b[at] ^= 1 << r.IntN(8)
		case 1: // a range
			for i := range b[at : at+r.IntN(4096)] {
				b[at+i] = byte(r.Uint32())
			}
		case 2: // a page
			clear(b[page : page+4096])
		case 3: // two pages
			kept := bytes.Clone(b[page : page+4096])
			copy(b[page:], b[other:other+4096])
			copy(b[other:], kept)
		case 4: // a page twice
			copy(b[page:page+4096], b[other:other+4096])
		case 5: // the end
			b = b[:len(b)-r.IntN(4096)]
		case 6: // a page's header
			for i := range 8 + r.IntN(40) {
				b[page+i] = byte(r.Uint32())
			}
		}
	}
	return b
}

// Whatever happens to the file: a salvage ends, invents nothing, loses no record
// whose rows can be found, and the vault that it makes is sound.
func TestASalvageOfAnyDamageIsSoundAndTrue(t *testing.T) {
	t.Parallel()
	v, dir, _ := filled(t, options())
	for range 25 {
		uid := add(t, v, userRecord("user", "login", "first"))
		r, err := v.Record(t.Context(), uid)
		must(t, err)
		r.Notes = strings.Repeat("long ", 400)
		r.Field("password", "").Secret = word("changed " + string(uid))
		must(t, v.UpdateRecord(t.Context(), r))
	}
	secrets, rows := map[pam.UID]map[string]bool{}, map[pam.UID][]string{}
	heads, err := v.Heads(t.Context())
	must(t, err)
	for _, h := range heads {
		secrets[h.UID] = secretsOf(t, v, h.UID)
	}
	key := v.Key()
	must(t, v.Close())
	whole, err := os.ReadFile(filepath.Join(dir, "vault.db"))
	must(t, err)
	carve.Read(whole, nil, func(r carve.Row) {
		if len(r.Values) == 5 && (r.Values[0] == int64(1) || r.Values[0] == int64(2)) {
			id := pam.UID(fmt.Sprint(r.Values[2]))
			rows[id] = append(rows[id], rowText(r.Values))
		}
	})
	kept := t.TempDir()
	made := 0
	rapid.Check(t, func(rt *rapid.T) {
		broken := damage(rt, whole)
		must(t, os.WriteFile(filepath.Join(dir, "vault.db"), broken, 0o600))
		out := filepath.Join(kept, "out")
		defer os.RemoveAll(out) //nolint:errcheck // for the next one
		s, err := vault.SalvageVault(t.Context(), dir, out, key, options())
		if err != nil {
			wants(t, err, pam.ErrIO, "nothing")
			return
		}
		made++
		again, err := vault.Open(t.Context(), out, key, options())
		must(t, err)
		defer again.Close() //nolint:errcheck // the folder goes
		if _, err := again.Check(t.Context()); err != nil {
			rt.Fatal(err)
		}
		left := rowsOf(broken)
		for uid, known := range secrets {
			state := became(s, uid).State
			if all(rows[uid], left) && state != vault.SalvageWhole && state != vault.SalvagePart {
				rt.Fatalf("a record whose rows are whole is %q", state)
			}
			if state != vault.SalvageWhole && state != vault.SalvagePart {
				continue
			}
			for secret := range secretsOf(t, again, uid) {
				if !known[secret] {
					rt.Fatalf("%q was never a secret of the record", secret)
				}
			}
		}
	})
	t.Logf("%d vaults were made", made)
}

func all(rows []string, left map[string]bool) bool {
	return !slices.ContainsFunc(rows, func(r string) bool { return !left[r] })
}

// secretsOf are all secrets that a record has or had.
func secretsOf(t *testing.T, v *vault.Vault, uid pam.UID) map[string]bool {
	t.Helper()
	found := map[string]bool{"": true}
	history, err := v.History(t.Context(), uid)
	must(t, err)
	defer vault.DestroyHistory(history)
	for _, r := range history {
		for _, f := range r.Fields {
			found[string(f.Secret.Reveal())] = true
		}
	}
	return found
}
