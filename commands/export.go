package commands

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"keyturn/commands/exchange"
	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

const plainTextWarning = "warning: an export is plain text: whoever reads it has every password in it"

type exportOptions struct {
	folder, version string
	force           bool
	keepass         keepassFlags
}

func newExport(d *Deps) *cobra.Command {
	o := exportOptions{}
	cmd := &cobra.Command{
		Use:   "export [FILE]",
		Short: "Export records to a file of Keeper Commander or KeePass",
		Long: `Export records with their passwords as plain text, in the shape that Keeper
Commander and "keyturn import" read: JSON or CSV, by --format or the file's
name; without FILE to standard output. It asks first; without a terminal it
needs --force, which also replaces a file. The file is for its owner only
(0600), and the export is written to the audit trail.

In CSV a cell that a spreadsheet would run as a formula gets an apostrophe
before it; the first line of the file says so, and "keyturn import" takes it
away again. Records have no UIDs in CSV: JSON is the form to keep. A KeePass
database (KDBX 4, or 3.1) is encrypted with a password of its own, which is
asked for or read from --keepass-password-file, and a key file; nothing is asked
but that. Mappings and rotation settings are in none of them.`,
		Example: "  keyturn export --force records.json\n  keyturn export --folder Prod --format csv prod.csv\n" +
			"  keyturn export --format keepass Passwords.kdbx",
		Args:        atMostOne,
		Annotations: notes(annotNeeds, needVault, annotTargets, targetFile, annotOfFile, string(formatKeePass)),
	}
	f := cmd.Flags()
	f.StringVar(&o.folder, "folder", "", "only what is in `FOLDER` and below: a UID or path")
	f.BoolVar(&o.force, "force", false, "do not ask, and replace a file that is there")
	f.StringVar(&o.version, "keepass-version", "4", "the KeePass database's format: `4` or 3.1")
	o.keepass.add(cmd)
	completeFlag(cmd, "folder", d.folders())
	completeFlag(cmd, "keepass-version", fixed("4", "3.1"))
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) { return export(ctx, c, o) })
}

func export(ctx context.Context, c *call, o exportOptions) (output.View, error) {
	name, format, err := c.exportTo()
	if err != nil {
		return output.View{}, err
	}
	if err := o.keepass.check(format); err != nil {
		return output.View{}, err
	}
	to, err := c.destination("export", name)
	if err != nil {
		return output.View{}, err
	}
	defer to.abandon()
	if err := o.allowed(ctx, c, name, format); err != nil {
		return output.View{}, err
	}
	write, done, err := o.writer(ctx, c, name, format)
	if err != nil {
		return output.View{}, err
	}
	defer done()
	entries, err := c.exported(ctx, o, format)
	file := exchange.File{Entries: entries}
	defer file.Destroy()
	if err != nil {
		return output.View{}, err
	}
	if err := to.export(write, entries); err != nil {
		return output.View{}, pam.Errorf(pam.ErrIO, "export: %w", err)
	}
	if name == "" {
		return output.View{}, nil
	}
	return messageView(count(entries)+" record(s) exported to "+name+".", map[string]any{"records": len(entries), "file": name}), nil
}

// exportTo is the file to write, "" for standard output, and its format.
func (c *call) exportTo() (name string, format output.Format, err error) {
	name = c.target
	if len(c.args) > 0 {
		name = c.args[0]
	}
	switch {
	case name != "" && name != fromStdin:
		format, err = c.fileFormat(name)
	case c.style == string(formatKeePass):
		format = formatKeePass
	case c.format != output.FormatTable:
		format = c.format
	default:
		format = output.FormatJSON
	}
	if name == fromStdin {
		name = ""
	}
	return name, format, err
}

// A recordsWriter writes records as a file of some format.
type recordsWriter func(w io.Writer, entries []exchange.Entry) error

// writer is what writes that format, and what is called after it. For a KeePass
// database it asks for a password.
func (o exportOptions) writer(ctx context.Context, c *call, name string, format output.Format) (recordsWriter, func(), error) {
	if format == output.FormatCSV {
		return exchange.WriteCSV, func() {}, nil
	}
	if format != formatKeePass {
		return exchange.WriteJSON, func() {}, nil
	}
	version, err := keepassVersion(o.version)
	if err != nil {
		return nil, nil, err
	}
	if name == "" && c.OutIsTerminal() {
		return nil, nil, usagef("a KeePass database is not for a terminal: name a file").WithHint("keyturn export Passwords.kdbx")
	}
	key, err := o.keepass.newKey(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	write := func(w io.Writer, entries []exchange.Entry) error {
		return exchange.WriteKeePass(w, entries, key, version)
	}
	return write, func() { destroyKey(key) }, nil
}

// allowed asks whether plain text may be written; a file that is there already
// is replaced with --force only.
func (o exportOptions) allowed(ctx context.Context, c *call, name string, format output.Format) error {
	if o.force {
		if format != formatKeePass {
			c.sayf("%s", plainTextWarning)
		}
		return nil
	}
	if name != "" {
		path, err := c.path(name)
		if err != nil {
			return err
		}
		if _, err := os.Lstat(path); err == nil {
			return pam.Errorf(pam.ErrConflict, "export: %s is there already; nothing was written", name).WithHint("--force replaces it")
		}
	}
	if format == formatKeePass {
		return nil
	}
	return c.confirm(ctx, "An export is plain text: whoever reads it has every password in it. Do you want to go on?", "--force")
}

// exported reads the records to export, after writing down that they are.
func (c *call) exported(ctx context.Context, o exportOptions, format output.Format) ([]exchange.Entry, error) {
	paths, err := c.folderPaths(ctx)
	if err != nil {
		return nil, err
	}
	root := pam.UID("")
	if o.folder != "" {
		if root, err = c.vault.FindFolder(ctx, o.folder, c.Session.Folder); err != nil {
			return nil, err
		}
	}
	in, err := c.below(ctx, root)
	if err != nil {
		return nil, err
	}
	heads, err := c.vault.Heads(ctx)
	if err != nil {
		return nil, err
	}
	var entries []exchange.Entry
	var uids []pam.UID
	for _, h := range heads {
		if in[h.Folder] {
			folder := pam.SplitPath(paths[h.Folder])
			place := "record " + strconv.Itoa(len(entries)+1)
			uids = append(uids, h.UID)
			entries = append(entries, exchange.Entry{Place: place, Record: pam.Record{Head: h}, Folder: folder})
		}
	}
	if err := c.vault.AuditExport(ctx, root, string(format), len(entries)); err != nil {
		return nil, err
	}
	records, err := c.vault.Records(ctx, uids)
	for i, r := range records {
		entries[i].Record = r
	}
	return entries, err
}

// export writes entries with write.
func (to *destination) export(write recordsWriter, entries []exchange.Entry) error {
	if to.name == "" {
		err := write(to.d.Out, entries)
		if errors.Is(err, ErrNobodyReads) { // half an export is none
			return pam.Errorf(pam.ErrIO, "nobody read it to its end")
		}
		return err
	}
	var b bytes.Buffer
	defer func() { clear(b.Bytes()) }()
	if err := write(&b, entries); err != nil {
		return err
	}
	return to.write(b.Bytes())
}
