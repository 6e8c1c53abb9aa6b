package exchange

import "keyturn/pkg/kdbx"

// ThroughKeePass takes entries to a database and back, without the file between,
// whose key takes a while to derive.
func ThroughKeePass(entries []Entry) (File, error) {
	db, err := toKeePass(entries)
	if err != nil {
		db.Destroy()
		return File{}, err
	}
	return fromKeePass(db)
}

// FromKeePass makes entries of a database.
func FromKeePass(db kdbx.Database) (File, error) { return fromKeePass(db) }
