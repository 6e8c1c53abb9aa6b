package commands

import (
	"context"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

type treeOptions struct {
	verbose, records bool
	title            string
}

// A branch is a folder with what is in it.
type branch struct {
	UID     pam.UID    `json:"uid,omitempty"`
	Name    string     `json:"name"`
	Folders []branch   `json:"folders"`
	Records []treeLeaf `json:"records,omitempty"`
}

type treeLeaf struct {
	UID   pam.UID        `json:"uid"`
	Title string         `json:"title"`
	Type  pam.RecordType `json:"type"`
}

func newTree(d *Deps) *cobra.Command {
	o := treeOptions{}
	cmd := &cobra.Command{
		Use:     "tree [FOLDER]",
		Short:   "Show folders as a tree",
		Long:    "Show the folders below a folder as a tree.",
		Example: "  keyturn tree -r\n  keyturn tree Prod -v",
		Args:    atMostOne, Annotations: notes(annotNeeds, needVault, annotShort, "s=shares hk=hide-shares-key"),
	}
	cmd.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "show UIDs")
	cmd.Flags().BoolVarP(&o.records, "records", "r", false, "show records too")
	cmd.Flags().StringVarP(&o.title, "title", "t", "", "a line above the tree: `TEXT`")
	cmd.Flags().Bool("shares", false, "accepted for Commander's sake (short: -s): nothing is shared")
	cmd.Flags().Bool("hide-shares-key", false, "accepted for Commander's sake (short: -hk): nothing is shared")
	cmd.ValidArgsFunction = first(d.folders())
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		top := c.Session.Folder
		var err error
		if len(c.args) > 0 {
			if top, err = c.vault.FindFolder(ctx, c.args[0], top); err != nil {
				return output.View{}, err
			}
		}
		folders, err := c.vault.Folders(ctx)
		if err != nil {
			return output.View{}, err
		}
		var heads []pam.Head
		if o.records {
			if heads, err = c.vault.Heads(ctx); err != nil {
				return output.View{}, err
			}
		}
		b := branch{Name: "My Vault"}
		for _, f := range folders {
			if f.UID == top {
				b.UID, b.Name = f.UID, f.Name
			}
		}
		b = grown(b, folders, heads)
		lines := append([]string{b.Name}, o.draw(b, "")...)
		if o.title != "" {
			lines = append([]string{o.title, ""}, lines...)
		}
		return output.View{Before: lines, CSV: b.csv(), Document: b}, nil
	})
}

// csv is the tree as rows, each with its path.
func (b branch) csv() *output.Table {
	t := &output.Table{Header: []string{"kind", "uid", "path", "type"}}
	var walk func(b branch, path string)
	walk = func(b branch, path string) {
		for _, f := range b.Folders {
			t.Rows = append(t.Rows, []string{"folder", string(f.UID), path + pam.EscapeName(f.Name), ""})
			walk(f, path+pam.EscapeName(f.Name)+"/")
		}
		for _, r := range b.Records {
			t.Rows = append(t.Rows, []string{"record", string(r.UID), path + r.Title, string(r.Type)})
		}
	}
	walk(b, "")
	return t
}

func grown(b branch, folders []pam.Folder, heads []pam.Head) branch {
	b.Folders = []branch{}
	for _, f := range folders {
		if f.Parent == b.UID {
			b.Folders = append(b.Folders, grown(branch{UID: f.UID, Name: f.Name}, folders, heads))
		}
	}
	for _, h := range heads {
		if h.Folder == b.UID {
			b.Records = append(b.Records, treeLeaf{h.UID, h.Title, h.Type})
		}
	}
	return b
}

func (o treeOptions) draw(b branch, indent string) []string {
	var lines []string
	total := len(b.Folders) + len(b.Records)
	for i := range total {
		joint, below := "├── ", "│   "
		if i == total-1 {
			joint, below = "└── ", "    "
		}
		if i < len(b.Folders) {
			f := b.Folders[i]
			lines = append(lines, indent+joint+o.label(f.Name, f.UID))
			lines = append(lines, o.draw(f, indent+below)...)
			continue
		}
		r := b.Records[i-len(b.Folders)]
		lines = append(lines, indent+joint+o.label(r.Title, r.UID)+" [Record]")
	}
	return lines
}

func (o treeOptions) label(name string, uid pam.UID) string {
	if o.verbose {
		return titled(name, uid)
	}
	return name
}
