package vault

import "keyturn/pkg/secret"

// What SQLite stores in the database file's own header.
const (
	applicationID = 0x4b54564c // "KTVL"
	schemaVersion = 2          // from 2 on frames are filled up
	firstVersion  = 1
)

// schema is the whole of what can be read without the key: kinds of rows, opaque
// names, revisions and sizes. FORMAT.md says what is in the blobs.
const schema = `
CREATE TABLE meta (
	id         INTEGER PRIMARY KEY CHECK (id = 1),
	epoch      INTEGER NOT NULL,
	generation INTEGER NOT NULL,
	sealed     BLOB NOT NULL
) STRICT;
CREATE TABLE manifest (
	page   INTEGER PRIMARY KEY,
	sealed BLOB NOT NULL
) STRICT;
CREATE TABLE rows (
	kind     INTEGER NOT NULL,
	owner    TEXT NOT NULL,
	id       TEXT NOT NULL,
	revision INTEGER NOT NULL,
	sealed   BLOB NOT NULL,
	UNIQUE (kind, owner, id)
) STRICT;
CREATE INDEX rows_by_id ON rows (kind, id);
`

// schemaObjects is what the schema makes, as checkSchema asks for it.
const schemaObjects = "index rows_by_id, index sqlite_autoindex_rows_1, table manifest, table meta, table rows"

// A group is a kind of sealed row. The numbers are in the database, the names in
// the associated data: neither ever changes its meaning.
type group int

const (
	groupHead          group = 1  // record UID
	groupBody          group = 2  // record UID
	groupAccount       group = 3  // account UID
	groupCredential    group = 4  // account UID / generation number
	groupUser          group = 5  // account UID / record UID
	groupAlias         group = 6  // blind index of an account's identity
	groupFolder        group = 7  // folder UID
	groupGateway       group = 8  // gateway UID
	groupConfiguration group = 9  // configuration UID
	groupRotation      group = 10 // user record UID
	groupResource      group = 11 // machine record UID
	groupMapping       group = 12 // user record UID / machine record UID
	groupJob           group = 13 // account UID / job UID
	groupItem          group = 14 // job UID / blind index
	groupStep          group = 15 // job UID / number
	groupPlan          group = 16 // job UID / machine record UID
	groupDeployment    group = 17 // account UID / blind index
	groupAudit         group = 18 // number
	groupDiscovery     group = 19 // discovery UID
	groupFinding       group = 20 // discovery UID / machine record UID
	groupRevision      group = 21 // record UID / revision number
	groupTrash         group = 22 // record UID
	groupCatalogue     group = 23 // vault UID / number of the shelf

	lastGroup = groupCatalogue
)

// name is what the associated data call the group.
func (g group) name() string {
	return [...]string{
		"", "head", "body", "account", "credential", "user", "alias", "folder", "gateway", "configuration",
		"rotation", "resource", "mapping", "job", "item", "step", "plan", "deployment", "audit",
		"discovery", "finding", "revision", "trash", "catalogue",
	}[g]
}

// secrets returns the secrets of one of the group's rows: nil for a group that
// never has any, and only for such a one.
func (g group) secrets(given []secret.Value) []secret.Value {
	switch g {
	case groupBody, groupCredential, groupRevision, groupTrash:
		return append([]secret.Value{}, given...)
	default:
		return given
	}
}

// listed reports whether the manifest lists the group's rows. What a job or a
// discovery writes is not listed: losing it, or getting an older copy of it, costs a
// repeated look or a plan that no longer fits, never a password. The audit has a chain of its own.
func (g group) listed() bool {
	switch g {
	case groupItem, groupStep, groupPlan, groupDeployment, groupAudit, groupDiscovery, groupFinding:
		return false
	default:
		return true
	}
}
