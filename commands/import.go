package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/exchange"
	"keyturn/commands/output"
	"keyturn/pkg/kdbx"
	"keyturn/pkg/pam"
	"keyturn/pkg/password"
	"keyturn/vault"
)

// maxImport is the most that an import file may hold, in bytes.
const maxImport = 256 << 20

type importOptions struct {
	folder, config string
	dryRun, update bool
	keepass        keepassFlags
}

func newImport(d *Deps) *cobra.Command {
	o := importOptions{}
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Import records from a file of Keeper Commander or KeePass",
		Long: `Import records from a JSON or CSV file as Keeper Commander's export and "keyturn
export" write it, or from a KeePass database (KDBX 3.1 or 4); --format says
which, else the file's name. Folders that are missing are made. All records are
imported or none: a mistake in the file changes nothing, and is reported with
its entry and field.

A record keeps its UID. One that is there already is skipped or, with --update,
changed; a changed password of a pamUser is refused while a job holds its
account. A record without a UID, as in CSV, is known by its folder, type, title
and login. CSV has folder, title, login, password, URL, notes, shared folder,
then names and values of other fields in turns ($type is the record's type). An
apostrophe before a formula is taken off only in a file whose first line says
that Keyturn put it.

In JSON a field keeps the value it has. One that is more than texts and numbers,
such as a passkey, and a key pair are kept whole, as a secret that is JSON.

A KeePass database is opened with its password, which is asked for or read from
--keepass-password-file, and its key file. Groups are folders; fields that the
database protects are secrets, and "otp" is the one-time code. Former versions,
attachments, tags, expiry and the recycle bin are not taken over, and counted.`,
		Example: "  keyturn import --dry-run export.json\n  keyturn import --format csv --folder Prod export.csv\n" +
			"  keyturn mkdir KeePass && keyturn import --folder KeePass Passwords.kdbx",
		Args: positional("FILE"), Annotations: notes(annotNeeds, needVault, annotOfFile, string(formatKeePass)),
	}
	f := cmd.Flags()
	f.StringVar(&o.folder, "folder", "", "import below `FOLDER`, which must be there: a UID or path (default: the root)")
	f.StringVar(&o.config, "pam-config", "", "the PAM configuration of new machines: `UID` or title")
	f.BoolVar(&o.dryRun, "dry-run", false, "check everything and say what would be done, change nothing")
	f.BoolVar(&o.update, "update", false, "change records that are there already")
	o.keepass.add(cmd)
	completeFlag(cmd, "folder", d.folders())
	completeFlag(cmd, "pam-config", d.configurations())
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) { return importFile(ctx, c, o) })
}

func importFile(ctx context.Context, c *call, o importOptions) (output.View, error) {
	name := c.args[0]
	format, err := c.fileFormat(name)
	if err != nil {
		return output.View{}, err
	}
	if err := o.keepass.check(format); err != nil {
		return output.View{}, err
	}
	how, err := c.importOptions(ctx, o) // before a file that takes seconds to open
	if err != nil {
		return output.View{}, err
	}
	file, err := c.readImport(ctx, name, format, o.keepass)
	if err != nil {
		return output.View{}, err
	}
	defer file.Destroy()
	records, err := prepareImport(file)
	if err != nil {
		return output.View{}, importFault(name, err)
	}
	on, end := c.progress("importing records", len(records))
	how.On = on
	actions, err := c.vault.Import(ctx, records, how)
	end()
	if at, ok := errors.AsType[*vault.ImportError](err); ok {
		return output.View{}, importErrorAt(name, file, at)
	}
	if err != nil {
		return output.View{}, err
	}
	if c.format == output.FormatCSV {
		c.format = output.FormatTable // it is the file's format
	}
	return importView(file, actions, o), nil
}

func (c *call) importOptions(ctx context.Context, o importOptions) (how vault.ImportOptions, err error) {
	how = vault.ImportOptions{Update: o.update, DryRun: o.dryRun}
	if o.folder != "" {
		if how.Under, err = c.vault.FindFolder(ctx, o.folder, c.Session.Folder); err != nil {
			hint := fmt.Sprintf("keyturn mkdir %q makes it", o.folder)
			return how, pam.Errorf(pam.KindOf(err), "%w; nothing was imported", err).WithHint("%s", hint)
		}
	}
	how.Configuration, err = c.configurationFor(ctx, o.config)
	return how, err
}

// longImport is how many records take long enough to be waited for.
const longImport = 1000

// progress shows how far an import is, to a person at a terminal. In a pipeline, in
// JSON and where it would be gone before it is seen there is none.
func (c *call) progress(what string, total int) (set func(done int), end func()) {
	if total < longImport || c.ErrIsTerminal == nil || !c.ErrIsTerminal() || c.format == output.FormatJSON || c.Getenv("CI") != "" {
		return nil, func() {}
	}
	return output.Progress(c.Err, what, total)
}

// importErrorAt says at which entry, and field, the vault refused a file.
func importErrorAt(name string, file exchange.File, at *vault.ImportError) error {
	e := file.Entries[at.Index]
	field := ""
	if at.Field != "" {
		field = ", field " + strconv.Quote(at.Field)
	}
	where := pam.Errorf(pam.KindOf(at), "import %s: %s%s: %s", name, e.Where(), field, message(at.Err))
	where.Hint, where.Err = pam.HintOf(at), at
	return where
}

// importFault is an error of a file to import; its kind and hint stay.
func importFault(name string, err error) error {
	kind := pam.ErrInvalidInput
	if typed, ok := errors.AsType[*pam.Error](err); ok {
		kind = typed.Kind
	}
	text := strings.TrimSuffix(message(err), "; nothing changed")
	out := pam.Errorf(kind, "import %s: %s; nothing changed", name, text)
	out.Hint, out.Err = pam.HintOf(err), err
	return out
}

// fileFormat is the format of a file of records: that of --format, else of its name.
func (c *call) fileFormat(name string) (output.Format, error) {
	ext := strings.TrimPrefix(filepath.Ext(name), ".")
	switch {
	case c.style == string(formatKeePass):
		return formatKeePass, nil
	case c.format != output.FormatTable:
		return c.format, nil
	case strings.EqualFold(ext, "kdbx"):
		return formatKeePass, nil
	}
	f, err := output.ParseFormat(ext)
	if err != nil || f == output.FormatTable {
		return "", usagef("the name %q does not say whether it is JSON, CSV or KeePass", name).
			WithHint("--format json, --format csv or --format keepass")
	}
	return f, nil
}

func (c *call) readImport(ctx context.Context, name string, format output.Format, k keepassFlags) (exchange.File, error) {
	data, err := c.importData(ctx, name)
	defer clear(data)
	if err != nil {
		return exchange.File{}, err
	}
	var file exchange.File
	switch format {
	case formatKeePass:
		file, err = c.readKeePass(ctx, name, data, k)
	case output.FormatCSV:
		file, err = exchange.ReadCSV(data)
	default:
		file, err = exchange.ReadJSON(data)
	}
	if _, typed := errors.AsType[*pam.Error](err); err != nil && !typed {
		err = importFault(name, err)
	}
	return file, err
}

// importData reads a file to import, which is bounded.
func (c *call) importData(ctx context.Context, name string) ([]byte, error) {
	f, err := c.open(ctx, name)
	if err != nil {
		return nil, pam.Errorf(unreadable(pam.ErrIO, err), "import: %w; nothing changed", err)
	}
	defer f.Close() //nolint:errcheck // only read
	if info, err := f.Stat(); err == nil && !info.Mode().IsRegular() {
		return nil, pam.Errorf(pam.ErrIO, "import: %s is not a regular file; nothing changed", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxImport+1))
	switch {
	case err != nil:
		return data, pam.Errorf(pam.ErrIO, "import %s: %w; nothing changed", name, err)
	case len(data) > maxImport:
		return data, pam.Errorf(pam.ErrInvalidInput, "import %s: the file is larger than %d MiB; nothing changed", name, maxImport>>20)
	}
	return data, nil
}

// readKeePass asks for a password only where there is a database to open.
func (c *call) readKeePass(ctx context.Context, name string, data []byte, k keepassFlags) (exchange.File, error) {
	if err := kdbx.Inspect(data); err != nil {
		return exchange.File{}, err
	}
	key, err := k.openKey(ctx, c)
	if err != nil {
		return exchange.File{}, err
	}
	defer destroyKey(key)
	file, err := exchange.ReadKeePass(data, key)
	if errors.Is(err, kdbx.ErrKey) {
		return file, pam.Errorf(pam.ErrInvalidInput, "import %s: %w; nothing changed", name, err).
			WithHint("--keepass-password-file FILE, --keepass-key-file FILE; without the first the password is asked for")
	}
	return file, err
}

// prepareImport gives records of a file the spelling and order of their types'
// definitions, and refuses what could not be used.
func prepareImport(file exchange.File) ([]vault.Import, error) {
	records := make([]vault.Import, len(file.Entries))
	seen := map[pam.UID]bool{}
	for i := range file.Entries {
		e := &file.Entries[i]
		r := &e.Record
		if seen[r.UID] {
			return nil, pam.Errorf(pam.ErrInvalidInput, `%s, field "uid": %s is another record's of this file too`, e.Where(), r.UID)
		}
		seen[r.UID] = pam.IsUID(string(r.UID)) // what is none is not kept
		if strings.TrimSpace(r.Title) == "" {
			return nil, pam.Errorf(pam.ErrInvalidInput, `%s, field "title": is empty`, e.Place)
		}
		schema, err := schemaOf(string(r.Type))
		if err == nil {
			r.Type = schema.Type
		}
		for j := range r.Fields {
			if err := prepareField(schema, &r.Fields[j]); err != nil {
				return nil, pam.Errorf(pam.ErrInvalidInput, "%s, field %.60q: %w", e.Where(),
					fieldSpec{r.Fields[j].Type, r.Fields[j].Label}.String(), err)
			}
		}
		if err := checkRecord(*r); err != nil {
			return nil, pam.Errorf(pam.ErrInvalidInput, "%s: %w", e.Where(), err)
		}
		records[i] = vault.Import{Record: *r, Folder: e.Folder}
	}
	return records, nil
}

func prepareField(schema recordSchema, f *pam.Field) error {
	if typ, known := canonicalType(f.Type); known {
		f.Type = typ
	}
	spec, defined := schema.defines(f.Type, f.Label)
	f.Custom = !defined
	if defined {
		f.Type, f.Label = spec.Type, spec.Label
	}
	if strings.EqualFold(f.Type, "password") && !f.Secret.IsZero() {
		return password.Valid(f.Secret)
	}
	if fieldTypes()[f.Type] == nil {
		return nil
	}
	if f.Parts == nil {
		return errors.New("has no parts")
	}
	return checkHost(f.Type, f.Parts)
}

type importedDocument struct {
	Action vault.ImportAction `json:"action"`
	Type   pam.RecordType     `json:"type"`
	Title  string             `json:"title"`
	Folder string             `json:"folder"`
	Place  string             `json:"place"`
}

func importView(file exchange.File, actions []vault.ImportAction, o importOptions) output.View {
	t := output.Table{Header: []string{"Action", "Type", "Title", "Folder", "Place"}}
	counts := map[vault.ImportAction]int{}
	docs := []importedDocument{}
	for i, e := range file.Entries {
		counts[actions[i]]++
		folder := pam.JoinPath(e.Folder)
		t.Rows = append(t.Rows, []string{string(actions[i]), string(e.Record.Type), e.Record.Title, folder, e.Place})
		docs = append(docs, importedDocument{actions[i], e.Record.Type, e.Record.Title, folder, e.Place})
	}
	text := strconv.Itoa(counts[vault.ImportAdd]) + " record(s) added, " + strconv.Itoa(counts[vault.ImportUpdate]) + " updated, " +
		strconv.Itoa(counts[vault.ImportSkip]) + " skipped"
	if o.dryRun {
		text = "Dry run: " + text + "; nothing changed"
	}
	v := output.View{CSV: &t, Document: map[string]any{
		"dry_run": o.dryRun, "added": counts[vault.ImportAdd], "updated": counts[vault.ImportUpdate], "skipped": counts[vault.ImportSkip],
		"records": docs, "notes": append([]string{}, file.Notes...),
	}}
	if o.dryRun && len(docs) > 0 {
		v.Tables = []output.Table{t}
	}
	for _, n := range file.Notes {
		v.After = append(v.After, "note: "+n)
	}
	v.After = append(v.After, text)
	return v
}
