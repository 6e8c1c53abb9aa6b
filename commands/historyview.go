package commands

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

// versionText is how a revision is named for people.
func versionText(history []pam.Record, r pam.Record) string {
	if r.Revision == history[0].Revision {
		return "Current"
	}
	return "V." + strconv.FormatInt(r.Revision, 10)
}

type revisionDocument struct {
	Revision int64    `json:"revision"`
	Current  bool     `json:"current"`
	Modified string   `json:"modified"`
	Title    string   `json:"title"`
	Changed  []string `json:"changed"`
}

// historyListView lists revisions with what each changed.
func historyListView(history []pam.Record) output.View {
	t := output.Table{Header: []string{"Revision", "Version", "Time Modified", "Changed"}, Prose: []string{"Changed"}}
	docs := []revisionDocument{}
	for i, r := range history {
		changed := []string{}
		if i+1 < len(history) {
			for _, c := range changes(history[i+1], r) {
				changed = append(changed, c.name)
			}
		}
		number := strconv.FormatInt(r.Revision, 10)
		t.Rows = append(t.Rows, []string{number, versionText(history, r), timestamp(r.Modified), strings.Join(changed, ", ")})
		docs = append(docs, revisionDocument{r.Revision, i == 0, timestamp(r.Modified), r.Title, changed})
	}
	return output.View{Tables: []output.Table{t}, Document: map[string]any{"record_uid": history[0].UID, "revisions": docs}}
}

// A fieldChange is one difference between two states of a record. A field that
// one of them does not have is nil there.
type fieldChange struct {
	name          string
	before, after *pam.Field
}

// changes returns what differs between two states of a record, by name. What
// belongs to the record itself comes first, as fields of that name.
func changes(before, after pam.Record) []fieldChange {
	var found []fieldChange
	own := func(name, a, b string) {
		if a != b {
			found = append(found, fieldChange{name, &pam.Field{Values: []string{a}}, &pam.Field{Values: []string{b}}})
		}
	}
	own("title", before.Title, after.Title)
	own("type", string(before.Type), string(after.Type))
	own("notes", before.Notes, after.Notes)
	own("folder", string(before.Folder), string(after.Folder))
	old, now := fieldsByName(before), fieldsByName(after)
	names := slices.Sorted(maps.Keys(old))
	for name := range now {
		if old[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if a, b := old[name], now[name]; !sameField(a, b) {
			found = append(found, fieldChange{name, a, b})
		}
	}
	return found
}

// fieldsByName names the fields of a record; the second of a name is "name 2".
func fieldsByName(r pam.Record) map[string]*pam.Field {
	named := map[string]*pam.Field{}
	for i := range r.Fields {
		f := &r.Fields[i]
		if empty(*f) {
			continue // a password that an account does not have yet
		}
		base := fieldSpec{f.Type, f.Label}.String()
		name := base
		for n := 2; named[name] != nil; n++ {
			name = base + " " + strconv.Itoa(n)
		}
		named[name] = f
	}
	return named
}

func sameField(a, b *pam.Field) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.Equal(a.Values, b.Values) && maps.Equal(a.Parts, b.Parts) && a.Secret.Equal(b.Secret) &&
		a.JSON == b.JSON && slices.Equal(a.Bare, b.Bare)
}

type changeDocument struct {
	Field  string `json:"field"`
	Before []any  `json:"before"`
	After  []any  `json:"after"`
}

// diffRevision shows what differs between a revision and the record as it is now.
func diffRevision(ctx context.Context, c *call, o historyOptions, history []pam.Record) (output.View, error) {
	then, err := o.pick(history, 1)
	if err != nil {
		return output.View{}, err
	}
	now := history[0]
	was, err := o.shower(ctx, c, then, " of revision "+strconv.FormatInt(then.Revision, 10))
	if err != nil {
		return output.View{}, err
	}
	is, err := o.shower(ctx, c, now, "")
	if err != nil {
		return output.View{}, err
	}
	t := output.Table{Header: []string{"Field", versionText(history, then), "Current"}}
	docs := []changeDocument{}
	for _, ch := range changes(then, now) {
		before, old := changedText(ch.before, was)
		after, current := changedText(ch.after, is)
		t.Rows = append(t.Rows, []string{ch.name, before, after})
		docs = append(docs, changeDocument{ch.name, old, current})
	}
	v := output.View{Tables: []output.Table{t}, CSV: &t, Document: map[string]any{
		"record_uid": now.UID, "from": then.Revision, "to": now.Revision, "changes": docs,
	}}
	if len(docs) == 0 {
		v.Tables, v.Before = nil, []string{"Nothing differs from " + versionText(history, then) + "."}
	}
	return v, nil
}

func changedText(f *pam.Field, show func(pam.Field) string) (string, []any) {
	if f == nil {
		return "", []any{}
	}
	return fieldText(*f, show)
}
