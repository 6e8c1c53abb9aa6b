package commands

import (
	"context"
	"errors"
	"iter"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/vault"
)

const sourceVault = "vault"

type lsOptions struct{ list, folders, records, short, verbose, recursive bool }

func newLs(d *Deps) *cobra.Command {
	o := lsOptions{}
	cmd := &cobra.Command{
		Use:   "ls [PATTERN]",
		Short: "List folders and records",
		Long: `List the folders and records of a folder: the current one, or the one that is
named. A pattern has * and ?, behind a folder's path too.`,
		Example: "  keyturn ls -l\n  keyturn ls -l -R --format json\n  keyturn ls 'Prod/SRV*'",
		Args:    atMostOne, Annotations: notes(annotNeeds, needVault+" "+needThrift),
	}
	f := cmd.Flags()
	f.BoolVarP(&o.list, "list", "l", false, "show UIDs, types and descriptions")
	f.BoolVarP(&o.folders, "folders", "f", false, "folders only")
	f.BoolVarP(&o.records, "records", "r", false, "records only")
	f.BoolVarP(&o.short, "short", "s", false, "names only")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "as --list")
	f.BoolVarP(&o.recursive, "recursive", "R", false, "folders within folders too")
	cmd.ValidArgsFunction = first(d.folders())
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) { return list(ctx, c, o) })
}

// A lsRow is one line of ls in JSON.
type lsRow struct {
	Type    string  `json:"type"` // "folder" or "record"
	UID     pam.UID `json:"uid"`
	Name    string  `json:"name"`
	Details any     `json:"details"`
	Source  string  `json:"source"`
}

type folderDetails struct {
	Path   string  `json:"path"`
	Parent pam.UID `json:"parent_uid,omitempty"`
}

type recordDetails struct {
	Type        pam.RecordType `json:"type"`
	Description string         `json:"description"`
	Folder      string         `json:"folder"`
	Modified    string         `json:"modified"`
}

// A listing is what ls found in one or more folders. Its records may be very many:
// all that is shown of them is made one by one.
type listing struct {
	folders []pam.Folder
	records *vault.HeadList
	paths   map[pam.UID]string
	base    pam.UID
	pattern *regexp.Regexp // what the names in base match; nil for all of them
}

func list(ctx context.Context, c *call, o lsOptions) (output.View, error) {
	l, err := c.listing(ctx, o)
	if err != nil {
		return output.View{}, err
	}
	if l.pattern != nil && len(l.folders) == 0 && l.records.Len() == 0 {
		return output.View{}, pam.Errorf(pam.ErrNotFound, "ls: %s: No such folder or record", c.args[0])
	}
	v := output.View{CSV: l.csv(), Document: l.rows()}
	if (o.list || o.verbose) && !o.short {
		v.Tables = l.tables()
		return v, nil
	}
	v.Before = l.names()
	return v, nil
}

// listing collects what is in the named folder, or matches the pattern in the
// current one or in that which stands before it.
func (c *call) listing(ctx context.Context, o lsOptions) (listing, error) {
	l := listing{base: c.Session.Folder}
	if len(c.args) > 0 {
		if err := l.aim(ctx, c, c.args[0]); err != nil {
			return l, err
		}
	}
	folders, err := c.vault.Folders(ctx)
	if err != nil {
		return l, err
	}
	l.paths = pathsOf(folders)
	inside := l.enter(folders, o)
	l.records, err = c.vault.HeadList(ctx, func(h pam.Head) bool {
		named := l.pattern == nil || l.pattern.MatchString(h.Title) || string(h.UID) == c.args[0]
		return inside[h.Folder] && named && !o.folders
	})
	return l, err
}

// aim points at the folder called name, else at what matches it.
func (l *listing) aim(ctx context.Context, c *call, name string) error {
	folder, err := c.vault.FindFolder(ctx, name, l.base)
	if err == nil {
		l.base = folder
		return nil
	}
	if dir, last := pam.CutPath(name); dir != "" && errors.Is(err, pam.ErrNotFound) {
		folder, found := c.vault.FindFolder(ctx, dir, l.base)
		if found == nil {
			l.base, name = folder, last
		}
	}
	if errors.Is(err, pam.ErrNotFound) {
		l.pattern, err = glob(name)
	}
	return err
}

// enter collects the folders to show, and returns those whose records are.
func (l *listing) enter(folders []pam.Folder, o lsOptions) map[pam.UID]bool {
	inside := map[pam.UID]bool{l.base: true}
	for _, f := range folders { // parents come before children
		if !inside[f.Parent] {
			continue
		}
		inside[f.UID] = o.recursive
		if !o.records && (l.pattern == nil || l.pattern.MatchString(f.Name)) {
			l.folders = append(l.folders, f)
		}
	}
	return inside
}

// names are as they stand in paths: from here what is here, from the root the rest.
func (l listing) names() []string {
	var names []string
	for _, f := range l.folders {
		name := pam.EscapeName(f.Name)
		if f.Parent != l.base {
			name = l.paths[f.UID]
		}
		names = append(names, name+"/")
	}
	for h := range l.records.All() {
		name := h.Title
		if h.Folder != l.base {
			name = strings.TrimSuffix(l.paths[h.Folder], "/") + "/" + name
		}
		names = append(names, name)
	}
	return names
}

func (l listing) tables() []output.Table {
	var tables []output.Table
	if len(l.folders) > 0 {
		t := output.Table{Header: []string{"#", "Folder UID", "Name", "Flags", "Parent UID", "Source"}}
		for i, f := range l.folders {
			t.Rows = append(t.Rows, []string{
				strconv.Itoa(i + 1), string(f.UID), f.Name, "", string(f.Parent), sourceVault,
			})
		}
		tables = append(tables, t)
	}
	if l.records.Len() > 0 {
		t := output.Table{Header: []string{"#", "Record UID", "Type", "Title", "Description", "Source"}, Prose: []string{"Description"}}
		t.More = numbered(l.records, func(h pam.Head) []string {
			return []string{string(h.UID), string(h.Type), h.Title, h.Summary, sourceVault}
		})
		tables = append(tables, t)
	}
	return tables
}

// numbered yields a row for each head, behind its number.
func numbered(heads *vault.HeadList, cells func(pam.Head) []string) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		n := 0
		for h := range heads.All() {
			n++
			if !yield(append([]string{strconv.Itoa(n)}, cells(h)...)) {
				return
			}
		}
	}
}

func (l listing) csv() *output.Table {
	t := &output.Table{Header: []string{"kind", "uid", "type", "name", "description", "folder"}}
	for _, f := range l.folders {
		t.Rows = append(t.Rows, []string{"folder", string(f.UID), "", f.Name, "", l.paths[f.Parent]})
	}
	t.More = func(yield func([]string) bool) {
		for h := range l.records.All() {
			if !yield([]string{"record", string(h.UID), string(h.Type), h.Title, h.Summary, l.paths[h.Folder]}) {
				return
			}
		}
	}
	return t
}

func (l listing) rows() output.List {
	return func(yield func(any) bool) {
		for _, f := range l.folders {
			if !yield(lsRow{"folder", f.UID, f.Name, folderDetails{l.paths[f.UID], f.Parent}, sourceVault}) {
				return
			}
		}
		for h := range l.records.All() {
			details := recordDetails{h.Type, h.Summary, l.paths[h.Folder], timestamp(h.Modified)}
			if !yield(lsRow{"record", h.UID, h.Title, details, sourceVault}) {
				return
			}
		}
	}
}
