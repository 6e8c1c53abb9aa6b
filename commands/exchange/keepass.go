package exchange

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"keyturn/pkg/kdbx"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// uidName names a record's UID among the fields of an entry, where the entry's
// own UUID cannot say it.
const uidName = "$uid"

// codeType is the type of a one-time code.
const codeType = "oneTimeCode"

// ReadKeePass reads a KeePass database. Groups are folders, and the root group is
// none. A field keeps its name: "Name" is a text, or a secret if the file protects
// it, and "$type:label" what WriteKeePass made of other fields. What has no place
// in a record is noted and left out: former versions, attachments, tags, expiry,
// and the recycle bin. The error wraps those of [kdbx.Read].
func ReadKeePass(data []byte, key kdbx.Key) (File, error) {
	db, err := kdbx.Read(data, key)
	if err != nil {
		return File{}, err
	}
	return fromKeePass(db)
}

// fromKeePass makes entries of a database; it takes its values.
func fromKeePass(db kdbx.Database) (File, error) {
	f := File{}
	k := keepass{file: &f, seen: map[pam.UID]bool{}}
	for i, from := range db.Entries {
		e := Entry{Place: "entry " + strconv.Itoa(i+1)}
		err := k.entry(from, &e)
		f.Entries = append(f.Entries, e)
		if err != nil {
			db.Destroy()
			f.Destroy()
			return File{}, err
		}
	}
	k.tell(db.Recycled)
	return f, nil
}

// A keepass is one database on its way into a File.
type keepass struct {
	file *File
	seen map[pam.UID]bool

	groups, path []string // of the entry before: the file's names, and ours

	untitled, former, attachments, tagged, expiring int
}

func (k *keepass) entry(from kdbx.Entry, e *Entry) error {
	if !slices.Equal(from.Groups, k.groups) { // its neighbours mostly lie in the same
		k.groups, k.path = from.Groups, nil
		for _, name := range from.Groups {
			k.path = append(k.path, k.folder(name))
		}
		k.path = slices.Clip(k.path)
	}
	e.Folder = k.path
	e.Record.Type = defaultType
	if uid := uidOf(from.UUID); !k.seen[uid] {
		e.Record.UID = uid
	}
	for _, f := range from.Fields { // errors name the title
		if f.Key == kdbx.KeyTitle && utf8.Valid(f.Value.Reveal()) {
			e.Record.Title = string(f.Value.Reveal())
		}
	}
	for _, f := range from.Fields {
		if err := keepassField(f, e); err != nil {
			return fault(*e, f.Key, "%w", err)
		}
	}
	k.seen[e.Record.UID] = e.Record.UID != ""
	if strings.TrimSpace(e.Record.Title) == "" {
		e.Record.Title = titleFor(e.Record)
		k.untitled++
	}
	k.former += min(from.Former, 1)
	k.attachments += min(from.Attachments, 1)
	if from.Tagged {
		k.tagged++
	}
	if from.Expires {
		k.expiring++
	}
	return nil
}

// tell notes what was left out.
func (k *keepass) tell(recycled int) {
	for _, n := range []struct {
		count int
		what  string
	}{
		{k.untitled, "%d entry(s) without a title are called by their address or login"},
		{k.former, "former versions of %d entry(s) are not taken over"},
		{k.attachments, "attachments of %d entry(s) are not taken over"},
		{k.tagged, "tags of %d entry(s) are not taken over"},
		{k.expiring, "the date of expiry of %d entry(s) is not taken over"},
		{recycled, "%d entry(s) in the recycle bin are not taken over"},
	} {
		if n.count > 0 {
			k.file.note(n.what, n.count)
		}
	}
}

// folder is a group's name as a folder can have it.
func (k *keepass) folder(name string) string {
	out := strings.Trim(name, "/")
	if t := strings.TrimSpace(out); t == "" || t == "." || t == ".." {
		out = "(" + t + ")"
	}
	if out != name {
		k.file.note("group %q becomes folder %q", name, out)
	}
	return out
}

// titleFor is the title of an entry that has none.
func titleFor(r pam.Record) string {
	for _, typ := range []string{"url", "login"} {
		if text := strings.TrimSpace(r.Text(typ, "")); text != "" {
			return text
		}
	}
	return "(untitled)"
}

// keepassField reads one field. The secret that it becomes is the entry's own.
func keepassField(f kdbx.Field, e *Entry) error {
	if f.Value.IsZero() {
		return nil
	}
	field := pam.Field{Type: "text", Label: f.Key}
	switch {
	case f.Key == kdbx.KeyPassword:
		field = pam.Field{Type: "password"}
	case f.Key == kdbx.KeyOTP:
		field = pam.Field{Type: codeType}
	case strings.HasPrefix(f.Key, "$"):
		field = namedField(f.Key)
		field.Type = repeated.ReplaceAllString(field.Type, "")
	case f.Protected && !slices.Contains([]string{kdbx.KeyTitle, kdbx.KeyNotes, kdbx.KeyUserName, kdbx.KeyURL}, f.Key):
		field.Type = "secret"
	}
	if field.Type == "" {
		return errors.New("has no type")
	}
	if isSecret(field.Type) {
		field.Secret = f.Value
		e.Record.Fields = append(e.Record.Fields, field)
		return nil
	}
	defer f.Value.Destroy()
	if !utf8.Valid(f.Value.Reveal()) {
		return errors.New("is not UTF-8")
	}
	return keepassText(f.Key, field, string(f.Value.Reveal()), e)
}

// keepassText puts a text where it belongs in a record.
func keepassText(key string, field pam.Field, text string, e *Entry) error {
	switch key {
	case kdbx.KeyTitle:
		e.Record.Title = text
	case kdbx.KeyNotes:
		e.Record.Notes = text
	case kdbx.KeyUserName:
		addPlain(&e.Record, "login", text)
	case kdbx.KeyURL:
		addPlain(&e.Record, "url", text)
	case typeName:
		e.Record.Type = pam.RecordType(text)
	case uidName:
		e.Record.UID = pam.UID(text)
	default:
		return addText(field, text, e)
	}
	return nil
}

// repeated is the end of a type in a name that would be there twice.
var repeated = regexp.MustCompile(`#[0-9]+$`)

// uidOf is the UID of an entry: its UUID where that has the form of a UID, else
// always the same one made of it, so that a second import finds the record again.
func uidOf(uuid [16]byte) pam.UID {
	if uuid == [16]byte{} {
		return ""
	}
	for {
		if text := base64.RawURLEncoding.EncodeToString(uuid[:]); pam.IsUID(text) {
			return pam.UID(text)
		}
		sum := sha256.Sum256(append([]byte("keyturn kdbx "), uuid[:]...))
		copy(uuid[:], sum[:])
	}
}

// uuidOf is the UUID of an entry; whole says whether it gives back the UID.
func uuidOf(uid pam.UID) (uuid [16]byte, whole bool) {
	b, err := base64.RawURLEncoding.DecodeString(string(uid))
	if err != nil || len(b) != len(uuid) {
		return uuid, false
	}
	copy(uuid[:], b)
	return uuid, uidOf(uuid) == uid
}

// WriteKeePass writes entries as a KeePass database, encrypted with key. UIDs are
// in it.
func WriteKeePass(w io.Writer, entries []Entry, key kdbx.Key, version kdbx.Version) error {
	db, err := toKeePass(entries)
	defer db.Destroy()
	if err != nil {
		return err
	}
	b, err := kdbx.Write(db, key, version)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// toKeePass makes a database with secrets of its own. What the format cannot hold
// is told with the entry it is in.
func toKeePass(entries []Entry) (kdbx.Database, error) {
	db := kdbx.Database{}
	for _, e := range entries {
		out, err := keepassEntry(e)
		db.Entries = append(db.Entries, out)
		if err == nil {
			err = out.Check()
		}
		if err != nil {
			return db, fault(e, "", "%w", err)
		}
	}
	return db, nil
}

// keepassEntry makes an entry with secrets of its own.
func keepassEntry(e Entry) (kdbx.Entry, error) {
	flat := flatten(e.Record)
	out := kdbx.Entry{Groups: e.Folder, Created: e.Record.Created, Modified: e.Record.Modified}
	add := func(key string, value []byte, protected bool) {
		out.Fields = append(out.Fields, kdbx.Field{Key: key, Value: secret.Copy(value), Protected: protected})
	}
	add(kdbx.KeyTitle, []byte(e.Record.Title), false)
	add(kdbx.KeyUserName, []byte(flat.login), false)
	add(kdbx.KeyPassword, flat.password.Reveal(), true)
	add(kdbx.KeyURL, []byte(flat.url), false)
	add(kdbx.KeyNotes, []byte(e.Record.Notes), false)
	uuid, whole := uuidOf(e.Record.UID)
	out.UUID = uuid
	if e.Record.UID != "" && !whole {
		add(uidName, []byte(e.Record.UID), false)
	}
	if e.Record.Type != defaultType {
		add(typeName, []byte(e.Record.Type), false)
	}
	names := keepassNames{}
	for _, f := range flat.rest {
		switch {
		case len(f.Parts) > 0:
			text, err := json.Marshal(partsValue(f))
			if err != nil {
				return out, err
			}
			add(names.of(f), text, f.Hides())
		case !f.Secret.IsZero():
			add(names.of(f), f.Secret.Reveal(), true)
		default:
			for _, v := range f.Values {
				add(names.of(f), []byte(v), false)
			}
		}
	}
	return out, nil
}

// keepassNames are the names in use in an entry beside those every entry has.
type keepassNames map[string]bool

// of returns a name for a field that ReadKeePass takes for the same field: the
// label alone where people would write it so, else "$type:label", and with a
// number where that is taken.
func (names keepassNames) of(f pam.Field) string {
	var tries []string
	own := []string{
		kdbx.KeyTitle, kdbx.KeyUserName, kdbx.KeyPassword, kdbx.KeyURL, kdbx.KeyNotes, kdbx.KeyOTP,
	}
	known := slices.ContainsFunc(own, func(k string) bool { return strings.EqualFold(k, f.Label) })
	switch {
	case f.Type == codeType && f.Label == "":
		tries = append(tries, kdbx.KeyOTP)
	case (f.Type == "text" && f.Parts == nil || f.Type == "secret") && f.Label != "" && !known && !strings.HasPrefix(f.Label, "$"):
		tries = append(tries, f.Label)
	}
	tries = append(tries, fieldName(f))
	for n := 2; ; n++ {
		for _, name := range tries {
			if !names[name] {
				names[name] = true
				return name
			}
		}
		tries = []string{fieldName(pam.Field{Type: fmt.Sprintf("%s#%d", f.Type, n), Label: f.Label})}
	}
}
