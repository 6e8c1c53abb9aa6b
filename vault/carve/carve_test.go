package carve_test

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // the program whose files are read
	"pgregory.net/rapid"

	"keyturn/vault/carve"
)

// database makes a file with one table, and returns its rows as text.
func database(tb testing.TB, pragmas ...string) (db *sql.DB, path string, rows map[string]bool) {
	tb.Helper()
	path = filepath.Join(tb.TempDir(), "db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		tb.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	tb.Cleanup(func() { _ = db.Close() })
	for _, statement := range append(pragmas, `PRAGMA synchronous = OFF`, `CREATE TABLE r (n INTEGER, s TEXT, b BLOB, empty TEXT, one INTEGER) STRICT`) {
		if _, err := db.Exec(statement); err != nil {
			tb.Fatal(err)
		}
	}
	rows = map[string]bool{}
	for i := range 300 {
		n := []int64{0, 1, -1, 127, -128, 40000, -70000, 1 << 30, -1 << 40, 1 << 62, int64(i)}[i%11]
		b := bytes.Repeat([]byte{byte(i)}, []int{0, 10, 300, 3000, 4061, 4062, 9000, 20000}[i%8])
		s := strings.Repeat("é", i)
		if _, err := db.Exec(`INSERT INTO r VALUES (?, ?, ?, NULL, 1)`, n, s, b); err != nil {
			tb.Fatal(err)
		}
		rows[text(carve.Row{Rowid: int64(i + 1), Values: []any{n, s, b, nil, int64(1)}})] = true
	}
	return db, path, rows
}

// text names a row: what is long in it by its digest.
func text(r carve.Row) string {
	name := fmt.Sprint(r.Rowid)
	for _, v := range r.Values {
		switch v := v.(type) {
		case string:
			name += fmt.Sprintf(" %.9q %x", v, sha256.Sum256([]byte(v)))
		case []byte:
			name += fmt.Sprintf(" %x", sha256.Sum256(v))
		default:
			name += fmt.Sprint(" ", v)
		}
	}
	return name
}

func read(tb testing.TB, path string) []byte {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		tb.Fatal(err)
	}
	return b
}

func found(database, log []byte) map[string]bool {
	rows := map[string]bool{}
	carve.Read(database, log, func(r carve.Row) { rows[text(r)] = true })
	return rows
}

func TestEveryRowIsFoundWithoutSQLite(t *testing.T) {
	t.Parallel()
	for name, pragmas := range map[string][]string{
		"as it comes":              {},
		"small pages":              {`PRAGMA page_size = 512`},
		"large pages":              {`PRAGMA page_size = 65536`},
		"with a write-ahead log":   {`PRAGMA journal_mode = WAL`},
		"with all of it in a log":  {`PRAGMA journal_mode = WAL`, `PRAGMA wal_autocheckpoint = 0`},
		"small pages, and in logs": {`PRAGMA page_size = 1024`, `PRAGMA journal_mode = WAL`, `PRAGMA wal_autocheckpoint = 7`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, path, want := database(t, pragmas...)
			got := found(read(t, path), read(t, path+"-wal"))
			for row := range want {
				if !got[row] {
					t.Fatalf("not found: %.60s", row)
				}
			}
		})
	}
}

// What was not committed is not read.
func TestAnOpenTransactionIsNotRead(t *testing.T) {
	t.Parallel()
	db, path, _ := database(t, `PRAGMA journal_mode = WAL`, `PRAGMA cache_size = 1`)
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // it is not wanted
	for range 50 {
		if _, err := tx.Exec(`INSERT INTO r (s, b) VALUES ('uncommitted', zeroblob(3000))`); err != nil {
			t.Fatal(err)
		}
	}
	log := read(t, path+"-wal")
	if !bytes.Contains(log, []byte("uncommitted")) {
		t.Fatal("nothing of it is in the log")
	}
	for row := range found(read(t, path), log) {
		if strings.Contains(row, "uncommitt") {
			t.Fatal("it is read")
		}
	}
}

// However pages are broken, rows on whole ones are found: a page that holds
// neither a row nor a part of it does it no harm.
func TestBrokenPagesHideNoRowsOfOthers(t *testing.T) {
	t.Parallel()
	_, path, want := database(t)
	whole := read(t, path)
	rapid.Check(t, func(t *rapid.T) {
		broken := bytes.Clone(whole)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		pages := map[int]bool{}
		for range rapid.IntRange(1, 10).Draw(t, "pages") {
			page := r.IntN(len(whole)/4096-1) + 1 // the first says how large pages are
			pages[page] = true
			for i := range 4096 {
				broken[page*4096+i] = byte(r.Uint32())
			}
		}
		got, lost := found(broken, nil), 0
		for row := range want {
			if !got[row] {
				lost++
			}
		}
		// Eight rows in turn have 5200 bytes and more on leaves: no leaf has more than 15.
		if lost > len(pages)*15 {
			t.Fatalf("%d broken pages lose %d rows", len(pages), lost)
		}
	})
}

func FuzzRead(f *testing.F) {
	db, path, _ := database(f, `PRAGMA page_size = 512`, `PRAGMA journal_mode = WAL`)
	_, _ = db.Exec(`DELETE FROM r WHERE rowid > 20`)
	_, _ = db.Exec(`PRAGMA wal_checkpoint(TRUNCATE)`)
	_, _ = db.Exec(`VACUUM`)
	f.Add(read(f, path), read(f, path+"-wal"))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(_ *testing.T, database, log []byte) {
		carve.Read(database, log, func(carve.Row) {})
	})
}
