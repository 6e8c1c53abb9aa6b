package vault_test

import (
	"database/sql"
	"slices"
	"testing"

	"keyturn/pkg/pam"
)

// A row that the manifest lists and the database lost, has twice or has from
// somewhere else must not make a shorter or another list.
func TestAHeadListIsWholeOrAnError(t *testing.T) {
	t.Parallel()
	const again = `CREATE TABLE more (kind, owner, id, revision, sealed); INSERT INTO more SELECT * FROM rows; DROP TABLE rows;
		ALTER TABLE more RENAME TO rows; INSERT INTO rows SELECT * FROM rows WHERE kind = 1 LIMIT 1`
	for name, c := range map[string]struct{ change, says string }{
		"nothing is changed":    {},
		"a head is deleted":     {`DELETE FROM rows WHERE kind = 1 AND rowid = (SELECT max(rowid) FROM rows WHERE kind = 1)`, "is missing"},
		"all heads are deleted": {`DELETE FROM rows WHERE kind = 1`, "is missing"},
		"a head is there twice": {again, "is there twice"},
		"a head has a new name": {
			`UPDATE rows SET id = 'x' WHERE kind = 1 AND rowid = (SELECT max(rowid) FROM rows WHERE kind = 1)`, "does not belong there",
		},
		"a head has another revision": {`UPDATE rows SET revision = revision + 1 WHERE kind = 1`, "has revision"},
		"a page is deleted":           {`DELETE FROM manifest WHERE page = (SELECT min(page) FROM manifest)`, "is not the newest"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			v, err := openAgain(t, b.dir)
			must(t, err)
			b.sql(t, func(db *sql.DB) {
				_, err := db.Exec(c.change)
				must(t, err)
			})
			for _, keep := range []func(pam.Head) bool{nil, func(h pam.Head) bool { return h.Title == "other" }} {
				l, err := v.HeadList(t.Context(), keep)
				if c.says == "" {
					must(t, err)
					continue
				}
				if wants(t, err, pam.ErrDenied, c.says); l != nil {
					t.Errorf("%d heads are listed nevertheless", l.Len())
				}
			}
		})
	}
}

func TestAHeadListIsReadAgainAndLeftEarly(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	for _, title := range []string{"b", "A", "c"} {
		add(t, v, machineRecord(title, "host-"+title, "Windows"))
	}
	l, err := v.HeadList(t.Context(), nil)
	must(t, err)
	for h := range l.All() {
		if h.Title != "A" {
			t.Errorf("the first is %v", h)
		}
		break
	}
	heads, err := v.Heads(t.Context())
	must(t, err)
	for range 2 {
		if got := slices.Collect(l.All()); l.Len() != 3 || !slices.Equal(got, heads) {
			t.Errorf("%d heads: %v instead of %v", l.Len(), got, heads)
		}
	}
}
