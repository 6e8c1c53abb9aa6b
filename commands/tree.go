package commands

import (
	"context"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

type treeOptions struct{ verbose, records bool }

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
		Args:    atMostOne, Annotations: notes(annotNeeds, needVault),
	}
	cmd.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "show UIDs")
	cmd.Flags().BoolVarP(&o.records, "records", "r", false, "show records too")
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
		return output.View{Before: append([]string{b.Name}, o.draw(b, "")...), Document: b}, nil
	})
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
