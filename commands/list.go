package commands

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

type listOptions struct {
	verbose bool
	types   []string
	fields  []string
}

func newList(d *Deps) *cobra.Command {
	o := listOptions{}
	cmd := &cobra.Command{
		Use:     "list [PATTERN]",
		Aliases: []string{"l"},
		Short:   "List all records",
		Long: `List the records of all folders by title. A pattern has * and ? and is for
titles; without them, it is a part of the title. With --field it is for the text
of such fields instead; without a pattern, records that have one are listed.
Secrets are never compared with a pattern.`,
		Example: "  keyturn list\n  keyturn list -t pamUser -t login 'svc*' --format csv\n  keyturn list --field login 'LAB*'",
		Args:    atMostOne, Annotations: notes(annotNeeds, needVault+" "+needThrift),
	}
	f := cmd.Flags()
	f.BoolVarP(&o.verbose, "verbose", "v", false, "show folders and times, too")
	f.StringArrayVarP(&o.types, "type", "t", nil, "records of this `TYPE` only; may be repeated")
	f.StringArrayVar(&o.fields, "field", nil, "look into this field, `TYPE[.LABEL]`, a label alone or notes; may be repeated")
	completeFlag(cmd, "type", fixed(recordTypeNames()...))
	cmd.ValidArgsFunction = nothing
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) { return listRecords(ctx, c, o) })
}

type listedRecord struct {
	UID         pam.UID        `json:"record_uid"`
	Type        pam.RecordType `json:"type"`
	Title       string         `json:"title"`
	Description string         `json:"description"`
	Folder      string         `json:"folder"`
	Modified    string         `json:"modified"`
}

func listRecords(ctx context.Context, c *call, o listOptions) (output.View, error) {
	match, err := o.matcher(ctx, c)
	if err != nil {
		return output.View{}, err
	}
	heads, err := c.vault.HeadList(ctx, match)
	if err != nil {
		return output.View{}, err
	}
	paths, err := c.folderPaths(ctx)
	if err != nil {
		return output.View{}, err
	}
	t := output.Table{Header: []string{"#", "Record UID", "Type", "Title", "Description"}, Prose: []string{"Description"}}
	if o.verbose {
		t.Header = append(t.Header, "Folder", "Modified")
	}
	t.More = numbered(heads, func(h pam.Head) []string {
		row := []string{string(h.UID), string(h.Type), h.Title, h.Summary}
		if o.verbose {
			row = append(row, paths[h.Folder], timestamp(h.Modified))
		}
		return row
	})
	docs := output.List(func(yield func(any) bool) {
		for h := range heads.All() {
			if !yield(listedRecord{h.UID, h.Type, h.Title, h.Summary, paths[h.Folder], timestamp(h.Modified)}) {
				return
			}
		}
	})
	v := output.View{Tables: []output.Table{t}, CSV: &t, Document: docs}
	if heads.Len() == 0 {
		v.Tables, v.Before = nil, []string{"No records are found."}
		if len(c.args) > 0 && len(o.fields) == 0 {
			c.newsf("hint: list looks at titles alone; keyturn search looks at descriptions and types, too")
		}
	}
	return v, nil
}

// folderPaths returns the path of every folder, the root among them.
func (c *call) folderPaths(ctx context.Context) (map[pam.UID]string, error) {
	folders, err := c.vault.Folders(ctx)
	return pathsOf(folders), err
}

// pathsOf returns the paths of all folders, of which parents come before children.
func pathsOf(folders []pam.Folder) map[pam.UID]string {
	paths := map[pam.UID]string{"": "/"}
	for _, f := range folders {
		paths[f.UID] = strings.TrimSuffix(paths[f.Parent], "/") + "/" + pam.EscapeName(f.Name)
	}
	return paths
}

func (o listOptions) matcher(ctx context.Context, c *call) (func(pam.Head) bool, error) {
	for _, name := range o.types {
		if err := c.hasType(ctx, name); err != nil {
			return nil, err
		}
	}
	typed := func(h pam.Head) bool {
		return len(o.types) == 0 || slices.ContainsFunc(o.types, func(t string) bool { return strings.EqualFold(t, string(h.Type)) })
	}
	if len(o.fields) > 0 {
		return o.fieldMatcher(ctx, c, typed)
	}
	if len(c.args) == 0 {
		return typed, nil
	}
	re, err := partGlob(c.args[0])
	if err != nil {
		return nil, err
	}
	return func(h pam.Head) bool { return typed(h) && re.MatchString(h.Title) }, nil
}

// hasType refuses a type that is neither built in nor that of an imported record.
func (c *call) hasType(ctx context.Context, name string) error {
	_, unknown := schemaOf(name)
	if unknown == nil {
		return nil
	}
	heads, err := c.vault.Heads(ctx)
	if err != nil || slices.ContainsFunc(heads, func(h pam.Head) bool { return strings.EqualFold(name, string(h.Type)) }) {
		return err
	}
	return unknown
}

// wholeAtOnce is how many records are held with all their fields.
const wholeAtOnce = 1000

// fieldMatcher finds the records that have one of the fields, with a text that the
// pattern matches if there is one.
func (o listOptions) fieldMatcher(ctx context.Context, c *call, typed func(pam.Head) bool) (func(pam.Head) bool, error) {
	matches := func(string) bool { return true }
	if len(c.args) > 0 {
		re, err := partGlob(c.args[0])
		if err != nil {
			return nil, err
		}
		matches = re.MatchString
	}
	heads, err := c.vault.Heads(ctx)
	if err != nil {
		return nil, err
	}
	var uids []pam.UID
	for _, h := range heads {
		if typed(h) {
			uids = append(uids, h.UID)
		}
	}
	found := map[pam.UID]bool{}
	for some := range slices.Chunk(uids, wholeAtOnce) {
		records, err := c.vault.Records(ctx, some)
		for _, r := range records {
			found[r.UID] = slices.ContainsFunc(o.fields, func(name string) bool {
				return slices.ContainsFunc(textsOf(r, name), matches)
			})
			r.Destroy()
		}
		if err != nil {
			return nil, err
		}
	}
	return func(h pam.Head) bool { return found[h.UID] }, nil
}

// textsOf are the texts of a record's fields of that name. A secret is there, but its
// text is not.
func textsOf(r pam.Record, name string) []string {
	switch {
	case strings.EqualFold(name, "title"):
		return []string{r.Title}
	case strings.EqualFold(name, "notes") && r.Notes != "":
		return []string{r.Notes}
	}
	var texts []string
	for _, f := range r.Fields {
		if !empty(f) && (strings.EqualFold(name, fieldSpec{f.Type, f.Label}.String()) || strings.EqualFold(name, f.Type) ||
			f.Label != "" && strings.EqualFold(name, f.Label)) {
			text, _ := fieldText(f, func(pam.Field) string { return "" })
			texts = append(texts, text)
		}
	}
	return texts
}

// partGlob reads a pattern; without * and ? it is a part of the text.
func partGlob(pattern string) (*regexp.Regexp, error) {
	if !strings.ContainsAny(pattern, "*?[") {
		pattern = "*" + pattern + "*"
	}
	return glob(pattern)
}
