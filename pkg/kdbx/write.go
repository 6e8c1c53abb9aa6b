package kdbx

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tobischo/gokeepasslib/v3"
	"github.com/tobischo/gokeepasslib/v3/wrappers"
)

// A cost is what deriving a file's key takes.
type cost struct {
	rounds                uint64 // of AES, in 3.1
	memory, passes, lanes uint64 // of Argon2; memory in bytes
}

// written is the cost of a file that is written: about what KeePassXC chooses by
// itself.
func written() cost { return cost{rounds: 10_000_000, memory: 64 << 20, passes: 10, lanes: 2} }

// rootName is what the root group is called; readers leave it out.
const rootName = "Keyturn"

// Write returns a database of that version. A text that XML cannot hold, a
// control character for one, is written as a protected value, which can hold
// anything; the name of a group or field that XML cannot hold is an error. What
// this program's own key derivation costs is fixed here.
func Write(d Database, key Key, v Version) ([]byte, error) { return write(d, key, v, written()) }

func write(d Database, key Key, v Version, c cost) ([]byte, error) {
	if key.Password.IsZero() && key.KeyFile.IsZero() {
		return nil, fmt.Errorf("%w: neither was given", ErrKey)
	}
	option := gokeepasslib.WithDatabaseKDBXVersion4()
	if v == Version31 {
		option = gokeepasslib.WithDatabaseKDBXVersion3()
	}
	db := gokeepasslib.NewDatabase(option)
	db.Credentials = &gokeepasslib.DBCredentials{}
	if !key.Password.IsZero() {
		db.Credentials = gokeepasslib.NewPasswordCredentials(string(key.Password.Reveal()))
	}
	if !key.KeyFile.IsZero() {
		part, err := gokeepasslib.ParseKeyData(key.KeyFile.Reveal())
		if err != nil {
			return nil, fmt.Errorf("%w: the key file cannot be read: %w", ErrKey, err)
		}
		db.Credentials.Key = part
	}
	h := db.Header.FileHeaders
	h.TransformRounds = c.rounds
	if k := h.KdfParameters; k != nil {
		k.Memory, k.Iterations, k.Parallelism = c.memory, c.passes, uint32(c.lanes) //nolint:gosec // it is small
	}
	root, err := tree(d)
	if err != nil {
		return nil, err
	}
	db.Content.Meta.Generator = rootName
	db.Content.Meta.MemoryProtection.ProtectPassword = wrappers.NewBoolWrapper(true)
	db.Content.Root.Groups = []gokeepasslib.Group{root}
	if err := db.LockProtectedEntries(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := gokeepasslib.NewEncoder(&b).Encode(db); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// A node is a group while it is built.
type node struct {
	name     string
	entries  []gokeepasslib.Entry
	children []*node
	byName   map[string]*node
}

// tree puts entries into their groups, in the order in which they come.
func tree(d Database) (gokeepasslib.Group, error) {
	root := &node{name: rootName}
	for _, e := range d.Entries {
		at := root
		if err := e.Check(); err != nil {
			return gokeepasslib.Group{}, err
		}
		for _, name := range e.Groups {
			at = at.child(name)
		}
		at.entries = append(at.entries, entryOf(e))
	}
	return root.group(), nil
}

func (n *node) child(name string) *node {
	if c := n.byName[name]; c != nil {
		return c
	}
	c := &node{name: name}
	if n.byName == nil {
		n.byName = map[string]*node{}
	}
	n.byName[name] = c
	n.children = append(n.children, c)
	return c
}

func (n *node) group() gokeepasslib.Group {
	g := gokeepasslib.NewGroup()
	g.Name, g.Entries = n.name, n.entries
	for _, c := range n.children {
		g.Groups = append(g.Groups, c.group())
	}
	return g
}

// Check refuses an entry that no file can hold: the name of a group or field has
// a character that XML cannot have, or a field is there twice.
func (e Entry) Check() error {
	for _, name := range e.Groups {
		if !representable(name) {
			return fmt.Errorf("the name of group %q has a character that XML cannot hold", name)
		}
	}
	seen := map[string]bool{}
	for _, f := range e.Fields {
		switch {
		case !representable(f.Key):
			return fmt.Errorf("the name of field %q has a character that XML cannot hold", f.Key)
		case seen[f.Key]:
			return fmt.Errorf("field %q is there twice", f.Key)
		}
		seen[f.Key] = true
	}
	return nil
}

func entryOf(e Entry) gokeepasslib.Entry {
	out := gokeepasslib.NewEntry()
	if e.UUID != [16]byte{} {
		out.UUID = e.UUID
	}
	if !e.Created.IsZero() {
		out.Times.CreationTime = &wrappers.TimeWrapper{Time: e.Created.UTC()}
	}
	if !e.Modified.IsZero() {
		out.Times.LastModificationTime = &wrappers.TimeWrapper{Time: e.Modified.UTC()}
	}
	for _, f := range e.Fields {
		text := string(f.Value.Reveal())
		v := gokeepasslib.V{Content: text, Protected: wrappers.NewBoolWrapper(f.Protected || !representable(text))}
		out.Values = append(out.Values, gokeepasslib.ValueData{Key: f.Key, Value: v})
	}
	return out
}

// representable reports whether XML can hold a text as it is.
func representable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' && r != '\t' && r != '\n' || r == '\ufffe' || r == '\uffff'
	})
}
