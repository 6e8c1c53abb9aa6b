package commands

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

type searchOptions struct {
	verbose, list, regex bool
	categories           string
}

// The letters of --categories, in Commander's words. Folders are all alike here,
// so that the one for shared folders finds any; what the others stand for, no local
// vault has.
const (
	categoryRecords = 'r'
	categoryFolders = 's'
	categoriesKnown = "rstd"
)

func newSearch(d *Deps) *cobra.Command {
	o := searchOptions{}
	cmd := &cobra.Command{
		Use:     "search [PATTERN]",
		Aliases: []string{"s"},
		Short:   "Search records",
		Long: `Search the UIDs, titles, types and descriptions of all records, without case;
every word must be found. Secrets are never searched. -c rs searches the names
of folders too.`,
		Example: "  keyturn search srv\n  keyturn search pamUser svc\n  keyturn search --regex '^SRV[0-9]+$'",
		Args:    cobra.ArbitraryArgs, Annotations: notes(annotNeeds, needVault),
	}
	f := cmd.Flags()
	f.BoolVarP(&o.verbose, "verbose", "v", false, "accepted for Commander's sake: UIDs are always shown")
	f.BoolVarP(&o.list, "list", "l", false, "accepted for Commander's sake: the result is always a list")
	f.StringVarP(&o.categories, "categories", "c", string(categoryRecords),
		"what to search: `LETTERS` r for records, s for folders; t and d find nothing in a local vault")
	f.BoolVar(&o.regex, "regex", false, "the pattern is a regular expression for title, type or description")
	cmd.ValidArgsFunction = nothing
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		return o.run(ctx, c)
	})
}

func (o searchOptions) run(ctx context.Context, c *call) (output.View, error) {
	if o.categories == "" || strings.Trim(o.categories, categoriesKnown) != "" {
		return output.View{}, usagef("argument -c/--categories: %q: the letters are r for records and s for folders", o.categories)
	}
	match, err := o.matcher(c.args)
	if err != nil {
		return output.View{}, err
	}
	f := findings{rows: []lsRow{}}
	f.table.Header = []string{"#", "Record UID", "Type", "Title", "Description", "Record Category"}
	f.table.Prose = []string{"Description"}
	if strings.ContainsRune(o.categories, categoryRecords) {
		heads, err := c.vault.Search(ctx, match)
		if err != nil {
			return output.View{}, err
		}
		paths, err := c.folderPaths(ctx)
		if err != nil {
			return output.View{}, err
		}
		for _, h := range heads {
			details := recordDetails{Type: h.Type, Description: h.Summary, Folder: paths[h.Folder], Modified: timestamp(h.Modified)}
			f.add(lsRow{"record", h.UID, h.Title, details, sourceVault}, string(h.Type), h.Summary)
		}
	}
	if strings.ContainsRune(o.categories, categoryFolders) {
		err = c.eachFolder(ctx, func(folder pam.Folder, path string) {
			if match(pam.Head{UID: folder.UID, Title: folder.Name, Summary: path}) {
				f.add(lsRow{"folder", folder.UID, folder.Name, folderDetails{path, folder.Parent}, sourceVault}, "folder", path)
			}
		})
	}
	if err == nil && len(f.rows) == 0 {
		err = pam.Errorf(pam.ErrNotFound, "search: no record matches %s", strings.Join(c.args, " "))
	}
	return shownIf(err, output.View{Tables: []output.Table{f.table}, Document: f.rows})
}

// findings are what a search found.
type findings struct {
	table output.Table
	rows  []lsRow
}

func (f *findings) add(row lsRow, typ, description string) {
	f.table.Rows = append(f.table.Rows, []string{
		strconv.Itoa(len(f.rows) + 1), string(row.UID), typ, row.Name, description, row.Type,
	})
	f.rows = append(f.rows, row)
}

// eachFolder visits the folders with their paths, parents before children.
func (c *call) eachFolder(ctx context.Context, visit func(f pam.Folder, path string)) error {
	folders, err := c.vault.Folders(ctx)
	if err != nil {
		return err
	}
	paths, err := c.folderPaths(ctx)
	if err != nil {
		return err
	}
	for _, f := range folders {
		visit(f, paths[f.UID])
	}
	return nil
}

func (o searchOptions) matcher(args []string) (func(pam.Head) bool, error) {
	texts := func(h pam.Head) []string {
		return []string{string(h.UID), h.Title, string(h.Type), h.Summary}
	}
	if o.regex {
		re, err := regexp.Compile("(?i)" + strings.Join(args, " "))
		if err != nil {
			return nil, usagef("--regex: %w", err)
		}
		return func(h pam.Head) bool {
			return slices.ContainsFunc(texts(h), re.MatchString)
		}, nil
	}
	words := strings.Fields(strings.ToLower(strings.Join(args, " ")))
	return func(h pam.Head) bool {
		all := strings.ToLower(strings.Join(texts(h), "\n"))
		for _, w := range words {
			if !strings.Contains(all, w) {
				return false
			}
		}
		return true
	}, nil
}
