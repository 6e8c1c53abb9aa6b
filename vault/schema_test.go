package vault_test

import (
	"database/sql"
	"testing"

	"keyturn/pkg/pam"
)

// What somebody adds to the database runs with every write: with this trigger a
// password was shown, and no audit entry of it was left.
func TestADatabaseWithForeignPartsIsRefused(t *testing.T) {
	t.Parallel()
	for name, statement := range map[string]string{
		"a trigger that takes back what is written": `CREATE TRIGGER x AFTER INSERT ON rows BEGIN DELETE FROM rows WHERE rowid = new.rowid; END`,
		"a view in the place of a table":            `ALTER TABLE rows RENAME TO hidden; CREATE VIEW rows AS SELECT * FROM hidden`,
		"another table":                             `CREATE TABLE more (x)`,
		"an index less":                             `DROP INDEX rows_by_id`,
	} {
		b := newBench(t)
		b.sql(t, func(db *sql.DB) {
			_, err := db.Exec(statement)
			must(t, err)
		})
		v, err := openAgain(t, b.dir)
		if err == nil {
			_ = v.Close()
		}
		if pam.KindOf(err) != pam.ErrDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
}
