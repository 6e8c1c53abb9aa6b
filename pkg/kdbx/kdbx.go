// Package kdbx reads and writes KeePass databases: KDBX 3.1 and 4.
//
// It knows the file and what a KeePass entry is, and nothing of records. A file
// comes from anywhere, and until its password was right nothing in it can be
// trusted: what its header asks for is bounded before anything is allocated or
// computed. Nor can it be after that: its XML may neither declare entities nor nest
// without end, and how much it may hold is bounded while it is read. Of a database
// it reads groups, entries and their fields; of former versions of entries,
// attachments, tags and expiry it says that they are there.
//
// The formats are described at https://keepass.info/help/kb/kdbx.html and
// kdbx_4.html. Values are in [secret.Value] as soon as the XML decoder lets go of
// them, protected or not: what an entry holds is for its owner alone.
package kdbx

import (
	"errors"
	"time"

	"keyturn/pkg/secret"
)

// The keys of the fields that every entry has, and of a one-time code.
const (
	KeyTitle    = "Title"
	KeyUserName = "UserName"
	KeyPassword = "Password"
	KeyURL      = "URL"
	KeyNotes    = "Notes"
	KeyOTP      = "otp" // KeePassXC's, an otpauth URL
)

// Errors that callers tell apart.
var (
	// ErrKey is a password or key file that does not open the database. In KDBX
	// 3.1 a damaged file can look like it.
	ErrKey = errors.New("the password or key file is wrong")
	// ErrCost is a file that asks for more memory or time than it may, or holds more.
	ErrCost = errors.New("the file asks for too much")
)

// A Database is the content of a file.
type Database struct {
	Entries []Entry
	// Recycled is the number of entries in the recycle bin; they are not read.
	Recycled int
}

// Destroy overwrites all values.
func (d Database) Destroy() {
	for _, e := range d.Entries {
		for _, f := range e.Fields {
			f.Value.Destroy()
		}
	}
}

// An Entry is one entry, in the order of the file.
type Entry struct {
	UUID     [16]byte
	Groups   []string // the names of the groups it lies in, below the root group
	Fields   []Field
	Created  time.Time // zero when the file does not say; written, not read
	Modified time.Time

	// What an entry can have beside fields. It is read and not written.
	Former      int // former versions
	Attachments int
	Tagged      bool
	Expires     bool
}

// A Field is one text of an entry. Keys are unique within an entry.
type Field struct {
	Key       string
	Value     secret.Value
	Protected bool // the file encrypts it once more
}

// A Key opens a database: a password, a key file's content, or both.
type Key struct {
	Password secret.Value // empty is none
	KeyFile  secret.Value
}

// A Version is a format of KDBX.
type Version int

// The versions that can be written.
const (
	Version31 Version = 3
	Version4  Version = 4
)
